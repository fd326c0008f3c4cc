// Package authv2 is the second contract of the auth module, beside the first: what changed for callers since. Its types, its server interface
// and its client are generated from openapi.yaml.
package authv2

import _ "embed"

//go:generate go tool -modfile=../../../tools/generator/go.mod oapi-codegen -config config.yaml openapi.yaml

// Spec is the contract itself, as it is served and validated against.
//
//go:embed openapi.yaml
var Spec []byte
