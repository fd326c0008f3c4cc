// Command fork makes this repository somebody's own and keeps it in touch with where it came from. Each command reads the whole tree,
// changes it in memory, and writes it only when everything went well: a refusal leaves nothing half-written.
//
//	fork rename MODULE NAME      another module path and name, everywhere (make rename)
//	fork module NAME [--public]  a new module (make module)
//	fork resource MODULE NAME    one more resource in a module (make resource)
//	fork remove NAME             a module taken out without a trace (make remove)
//	fork upgrade VERSION [FROM]  the changes of a newer release merged in (make upgrade)
//	fork release VERSION         this tree tagged as a release, by its changelog (make release)
//	fork settings                the README's table of settings, as the program prints it (make settings)
package main

import (
	"fmt"
	"io"
	"os"
)

// commands by name: each is given the root of the checkout, its arguments, and where to say what it did.
var commands = map[string]func(root string, args []string, out io.Writer) error{
	"rename":   rename,
	"module":   module,
	"resource": resource,
	"remove":   remove,
	"upgrade":  upgrade,
	"release":  release,
	"settings": settings,
}

func main() {
	if err := run(".", os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fork:", err)
		os.Exit(1)
	}
}

func run(root string, args []string, out io.Writer) error {
	if len(args) > 0 && commands[args[0]] != nil {
		return commands[args[0]](root, args[1:], out)
	}
	return fmt.Errorf("there is no command %q; there are rename, module, resource, remove, upgrade, release and settings", args)
}
