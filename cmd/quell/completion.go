package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	c := plainCommand("completion", "print the script that completes commands and flags in a shell",
		args{usage: "bash|zsh", min: 1, max: 1}, nil, func(c *cli.Context) error {
			script, ok := completions[c.Args().First()]
			if !ok {
				return usagef("there is no completion for %q: it is bash or zsh", c.Args().First())
			}
			_, err := fmt.Fprint(c.App.Writer, script)
			return err
		})
	c.BashComplete = func(c *cli.Context) { fmt.Fprint(c.App.Writer, "bash\nzsh\n") }
	c.Description = "bash: source <(quell completion bash)\nzsh:  source <(quell completion zsh)"
	return c
}

// The scripts ask quell itself, by urfave's --generate-bash-completion.
var completions = map[string]string{
	"bash": `# bash completion of quell: source <(quell completion bash)
_quell_complete() {
  local current=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ $current == -* ]] && words+=("$current")
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$current"))
}
complete -o bashdefault -o default -F _quell_complete quell
`,
	"zsh": `#compdef quell
# zsh completion of quell: source <(quell completion zsh)
_quell() {
  local -a choices asked
  asked=("${(@)words[1,CURRENT-1]}")
  [[ "${words[CURRENT]}" == -* ]] && asked+=("${words[CURRENT]}")
  choices=("${(@f)$("${asked[@]}" --generate-bash-completion 2>/dev/null)}")
  if [[ -n "${choices[1]}" ]]; then
    _describe 'quell' choices
  else
    _files
  fi
}
compdef _quell quell
`,
}
