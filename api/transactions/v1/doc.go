// Package transactionsv1 is the contract of the transactions module: its types, its server interface and its client, generated from openapi.yaml.
package transactionsv1

import _ "embed"

//go:generate go tool -modfile=../../../tools/generator/go.mod oapi-codegen -config config.yaml openapi.yaml

// Spec is the contract itself, as it is served and validated against.
//
//go:embed openapi.yaml
var Spec []byte
