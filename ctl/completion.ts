import type { Operand, Synopsis } from './command.ts'
import { COMMON_OPTIONS, OPTION_NAMES, optionCalled, type OptionName } from './options.ts'
import type { Shell } from './shells.ts'

/** The completion script of one shell, for the commands and options that there are. */
export function renderCompletion(shell: Shell, synopses: readonly Synopsis[]): string {
  switch (shell) {
    case 'bash':
      return renderBash(synopses)
    case 'zsh':
      return renderZsh(synopses)
    case 'fish':
      return renderFish(synopses)
  }
}

function renderBash(synopses: readonly Synopsis[]): string {
  const withArgument = OPTION_NAMES.filter(name => optionCalled(name).argument !== undefined)
  const closed = withArgument.filter(name => optionCalled(name).values !== undefined)
  const paths = withArgument.filter(isPath)
  const other = withArgument.filter(name => !closed.includes(name) && !paths.includes(name))
  const commands = synopses.map(each => {
    const words = [...wordsOf(each.operands), ...optionsOf(each)].join(' ')
    const files = each.operands.some(operand => operand.isFile === true) ? '; files=yes' : ''
    return `    ${each.name}) words='${words}'${files} ;;`
  })
  const names = synopses.map(each => each.name)
  return `# bash completion of tullectl
_tullectl() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command='' words='' files='' index
  COMPREPLY=()
  case $before in
${closed.map(name => `    --${name}) mapfile -t COMPREPLY < <(compgen -W '${(optionCalled(name).values ?? []).join(' ')}' -- "$word"); return ;;`).join('\n')}
    ${paths.map(name => `--${name}`).join('|')}) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
    ${other.map(name => `--${name}`).join('|')}) return ;;
  esac
  for ((index = 1; index < COMP_CWORD; index++)); do
    case \${COMP_WORDS[index]} in
      ${withArgument.map(name => `--${name}`).join('|')}) ((index++)) ;;
      -*) ;;
      *) command=\${COMP_WORDS[index]}; break ;;
    esac
  done
  case $command in
    '') words='${[...names, ...commonOptions()].join(' ')}' ;;
${commands.join('\n')}
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  if [[ -n $files ]]; then mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word"); fi
}
complete -o filenames -F _tullectl tullectl
`
}

function renderZsh(synopses: readonly Synopsis[]): string {
  const cases = synopses.map(each => {
    const specs = [...COMMON_OPTIONS, ...each.options].map(zshOption)
    const operands = each.operands.map((operand, index) => quoted(`${index + 1}:${operand.name}:${zshAction(operand)}`))
    return `    ${each.name}) _arguments ${[...specs, ...operands].join(' ')} ;;`
  })
  return `#compdef tullectl
_tullectl() {
  local context state line
  typeset -A opt_args
  _arguments -C ${[...COMMON_OPTIONS, 'version' as const].map(zshOption).join(' ')} '1:command:->command' '*::argument:->argument'
  case $state in
    command)
      local -a commands=(${synopses.map(each => quoted(`${each.name}:${each.summary}`)).join(' ')})
      _describe command commands
      return ;;
    argument) ;;
    *) return ;;
  esac
  case $words[1] in
${cases.join('\n')}
  esac
}
if [[ $funcstack[1] == _tullectl ]]; then _tullectl "$@"; else compdef _tullectl tullectl; fi
`
}

function zshOption(name: OptionName): string {
  const { argument, summary, values } = optionCalled(name)
  const described = `--${name}[${summary}]`
  if (argument === undefined) return quoted(described)
  const action = values === undefined ? (isPath(name) ? '_files' : ' ') : `(${values.join(' ')})`
  return quoted(`${described}:${argument}:${action}`)
}

function zshAction({ values, isFile }: Operand): string {
  if (values !== undefined) return `(${values.join(' ')})`
  return isFile === true ? '_files' : ' '
}

function renderFish(synopses: readonly Synopsis[]): string {
  const names = synopses.map(each => each.name).join(' ')
  const commands = synopses.map(each => {
    return `complete -c tullectl -n 'not __fish_seen_subcommand_from ${names}' -a ${each.name} -d ${quoted(each.summary)}`
  })
  const common = [...COMMON_OPTIONS, 'version' as const].map(name => `complete -c tullectl ${fishOption(name)}`)
  const own = synopses.flatMap(each => {
    const condition = `complete -c tullectl -n '__fish_seen_subcommand_from ${each.name}'`
    const words = wordsOf(each.operands)
    return [
      ...each.options.map(name => `${condition} ${fishOption(name)}`),
      ...(words.length === 0 ? [] : [`${condition} -a ${quoted(words.join(' '))}`]),
      ...(each.operands.some(operand => operand.isFile === true) ? [`${condition} -F`] : []),
    ]
  })
  return `${['# fish completion of tullectl', 'complete -c tullectl -f', ...commands, ...common, ...own].join('\n')}\n`
}

function fishOption(name: OptionName): string {
  const { argument, summary, values } = optionCalled(name)
  const wanted = argument === undefined ? '' : isPath(name) ? ' -r -F' : ' -x'
  return `-l ${name}${wanted}${values === undefined ? '' : ` -a ${quoted(values.join(' '))}`} -d ${quoted(summary)}`
}

function wordsOf(operands: readonly Operand[]): readonly string[] {
  return operands.flatMap(operand => operand.values ?? [])
}

function optionsOf({ options }: Synopsis): readonly string[] {
  return [...COMMON_OPTIONS, ...options].map(name => `--${name}`)
}

function commonOptions(): readonly string[] {
  return [...COMMON_OPTIONS, 'version'].map(name => `--${name}`)
}

function isPath(name: OptionName): boolean {
  return optionCalled(name).argument === 'PATH'
}

// None of our texts has an apostrophe; one that had would end the word in all three shells.
function quoted(text: string): string {
  if (text.includes("'")) throw new Error(`${text}: an apostrophe in a completion script`)
  return `'${text}'`
}
