// Command field adds an optional text to three schemas of a contract, as a person would in an editor: .ci/fork changes a contract with it.
//
//	go run field.go api/invoices/v1/openapi.yaml memo NewInvoice Invoice InvoicePatch
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(name, field string, schemas []string) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	top, text, _ := strings.Cut(string(content), "\n  schemas:")
	for _, schema := range schemas {
		head, rest, found := strings.Cut(text, "\n    "+schema+":\n")
		before, after, more := strings.Cut(rest, "\n      properties:\n")
		if !found || !more || strings.Contains("\n"+before, "\n    ") && !strings.HasPrefix(before, "      ") {
			return fmt.Errorf("%s has no schema %s with properties", name, schema)
		}
		text = head + "\n    " + schema + ":\n" + before + "\n      properties:\n        " + field + ": {type: string, nullable: true, maxLength: 200}\n" + after
	}
	return os.WriteFile(name, []byte(top+"\n  schemas:"+text), 0o644)
}
