package transactions

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/oapi-codegen/nullable"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/etag"
	"example.com/groundwork/pkg/problem"
)

// customer is the kind of account that has an owner and cannot be overdrawn; the other kinds are the house's.
const customer = "customer"

// The statuses of an account. Only an active one takes part; a closed one never will again.
const (
	active = "active"
	frozen = "frozen"
	closed = "closed"
)

// maxMetadataName is how long a name in metadata may be, in bytes. A contract can bound the values only.
const maxMetadataName = 100

// account is an account with its balance and what a person typed about it.
type account struct {
	ID             uuid.UUID
	OwnerID        *uuid.UUID // nil for the house's own
	Kind           string
	Currency       string
	Version        int64 // of the profile
	CreatedAt      time.Time
	Name           *string
	Metadata       map[string]string
	Status         string
	Posted         int64
	Held           int64
	BalanceVersion int64
}

// newAccount is the account that the caller asks for, or why there is none.
func newAccount(id uuid.UUID, now time.Time, caller uuid.UUID, operator bool, in transactionsv1.NewAccount) (account, error) {
	a := account{
		ID: id, OwnerID: in.OwnerId, Kind: customer, Currency: in.Currency, Version: 1, CreatedAt: now,
		Name: in.Name, Metadata: map[string]string{}, Status: active, BalanceVersion: 1,
	}
	if in.Kind != nil {
		a.Kind = string(*in.Kind)
	}
	if in.Metadata != nil {
		a.Metadata = *in.Metadata
	}
	if a.Kind == customer && a.OwnerID == nil && caller != uuid.Nil {
		a.OwnerID = &caller
	}
	switch {
	case (in.Kind != nil || in.OwnerId != nil) && !operator:
		return account{}, problem.Forbidden.New("insufficient-scope", "kind and owner_id need the scope ledger:write.")
	case a.Kind == customer && a.OwnerID == nil:
		return account{}, invalid("/owner_id", "required", "say who owns it: the caller is not a person")
	case a.Kind != customer && a.OwnerID != nil:
		return account{}, invalid("/owner_id", "not-allowed", "only a customer's account has an owner")
	}
	return a, checkMetadata(a.Metadata)
}

// floor is what the account may not fall below, nil for nothing.
func (a account) floor() *int64 {
	if a.Kind == customer {
		return new(int64)
	}
	return nil
}

// tag is the account's ETag. The profile's version stands apart, so that a payment does not get in the way of a change to the profile.
func (a account) tag() string { return etag.Of(fmt.Sprintf("%d.%d", a.Version, a.BalanceVersion)) }

// profileVersions reads the profile versions that If-Match names; nil for any. A weak tag names none (RFC 9110, section 13.1.1).
func profileVersions(ifMatch string) []int64 {
	versions := []int64{}
	for tag := range strings.SplitSeq(ifMatch, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return nil
		}
		tag, quoted := strings.CutPrefix(tag, `"`)
		profile, _, dotted := strings.Cut(tag, ".")
		if version, err := strconv.ParseInt(profile, 10, 64); err == nil && quoted && dotted {
			versions = append(versions, version)
		}
	}
	return versions
}

// become says why the account cannot have another status; holds reports whether an open one is on either side of it.
func (a account) become(status string, holds bool) *problem.Error {
	switch {
	case a.Status == closed && status != closed:
		return problem.Conflict.New("account-not-active", "It is closed, for ever.")
	case status == closed && (a.Posted != 0 || holds):
		return problem.Conflict.New("account-has-balance", "There is money in it, or an open hold from it or for it.")
	}
	return nil
}

// notes is a change to what a person typed about an account. What is not set stays.
type notes struct {
	SetName, SetMetadata bool
	Name                 *string
	Metadata             map[string]string
}

// newNotes reads a merge patch: absent stays, null empties, a value replaces.
func newNotes(in transactionsv1.AccountPatch) (notes, error) {
	n := notes{SetName: in.Name.IsSpecified(), SetMetadata: in.Metadata.IsSpecified(), Metadata: map[string]string{}}
	if name, err := in.Name.Get(); err == nil {
		n.Name = &name
	}
	if metadata, err := in.Metadata.Get(); err == nil {
		n.Metadata = metadata
	}
	return n, checkMetadata(n.Metadata)
}

func checkMetadata(metadata map[string]string) error {
	for name := range metadata {
		if name == "" || len(name) > maxMetadataName {
			return invalid("/metadata", "name-length", fmt.Sprintf("a name has 1 to %d bytes", maxMetadataName))
		}
	}
	return nil
}

// invalid says that one part of the input is not allowed.
func invalid(pointer, code, detail string) *problem.Error {
	return problem.Invalid.New("validation-failed", "Some of the input is not allowed.").With(
		problem.Field{Pointer: pointer, Code: code, Detail: detail})
}

// api is the account as the contract has it.
func (a account) api() transactionsv1.Account {
	return transactionsv1.Account{
		Id: a.ID, OwnerId: orNull(a.OwnerID), Kind: transactionsv1.AccountKind(a.Kind), Currency: a.Currency,
		Status: transactionsv1.AccountStatus(a.Status), Name: orNull(a.Name), Metadata: a.Metadata, CreatedAt: a.CreatedAt.UTC(),
		Balance: transactionsv1.Balance{Posted: a.Posted, Held: a.Held, Available: a.Posted - a.Held},
	}
}

func orNull[T any](p *T) nullable.Nullable[T] {
	if p == nil {
		return nullable.NewNullNullable[T]()
	}
	return nullable.NewNullableWithValue(*p)
}

// response is the account with its ETag.
func (a account) response() transactionsv1.AccountJSONResponse {
	return transactionsv1.AccountJSONResponse{Body: a.api(), Headers: transactionsv1.AccountResponseHeaders{ETag: a.tag()}}
}
