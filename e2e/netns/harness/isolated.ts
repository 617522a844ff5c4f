/**
 * Isolates the process that imports this module: see isolateThisProcess(). It has to be the first import of the program,
 * because it may start the program anew, and modules are evaluated in the order of their imports.
 */
import { isolateThisProcess } from './isolation.ts'

isolateThisProcess()
