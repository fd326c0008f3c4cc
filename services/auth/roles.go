package auth

import (
	"slices"
	"strings"
)

// Roles expand to permissions; a permission is the OAuth scope that an operation asks for in its contract.
const (
	roleUser     = "user"
	roleOperator = "operator"
)

// scopeInternal is for modules, which get it by configuration.
const scopeInternal = "internal"

var permissions = map[string][]string{
	roleUser: {
		"account:read", "account:write",
		// only with users:
		"profile:read", "profile:write",
		// end users
		// only with transactions:
		"accounts:read", "accounts:write", "transactions:read", "transactions:write",
		// end transactions
	},
	roleOperator: {
		"identities:read", "identities:write", "audit:read",
		// only with users:
		"users:read",
		// end users
		// only with transactions:
		"ledger:read", "ledger:write", "ledger:admin",
		// end transactions
	},
}

// scopesOf lists what the roles may do.
func scopesOf(roles []string) []string {
	var scopes []string
	for _, role := range roles {
		for _, scope := range permissions[role] {
			if !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	return scopes
}

// narrow returns the granted scopes that are asked for, all when none is; ok is false when one is asked for that is not granted.
func narrow(granted []string, asked *string) (scopes []string, ok bool) {
	if asked == nil || strings.TrimSpace(*asked) == "" {
		return granted, true
	}
	for _, scope := range strings.Fields(*asked) {
		if !slices.Contains(granted, scope) {
			return nil, false
		}
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes, true
}

// allScopes is what the metadata document lists.
func allScopes() []string { return scopesOf([]string{roleUser, roleOperator}) }
