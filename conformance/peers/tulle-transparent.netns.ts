import '../../e2e/netns/harness/isolated.ts'
import { holdToTheSpecification } from './hold-tulle.ts'

await holdToTheSpecification('transparent')
