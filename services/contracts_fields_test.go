package main

import (
	"regexp"
	"slices"
	"strings"
)

// The conventions about what requests and answers hold.

func closed(c contract, say say) {
	for _, o := range c.operations {
		for _, f := range o.body() {
			if !f.schema.Type.Is("object") {
				continue
			}
			more := f.schema.AdditionalProperties
			isMap := more.Schema != nil && f.schema.MaxProps != nil && len(f.schema.Properties) == 0
			if !isMap && (more.Has == nil || *more.Has) {
				say(strings.TrimSpace(o.String()+" "+f.place), "is open: say `additionalProperties: false`, so that a misspelt field is refused and not ignored")
			}
		}
	}
}

// endless is a pattern that sets no length.
var endless = regexp.MustCompile(`[*+]|,\}|^[^^]|[^$]$`)

func bounds(c contract, say say) {
	for _, o := range c.operations {
		for _, f := range o.incoming() {
			s, missing := f.schema, ""
			switch {
			case len(s.Enum) > 0:
			case s.Type.Is("string"):
				ruled := s.Pattern != "" && !endless.MatchString(s.Pattern) || slices.Contains([]string{"uuid", "date-time", "date"}, s.Format)
				if s.MaxLength == nil && !ruled {
					missing = "maxLength"
				}
			case s.Type.Is("array") && s.MaxItems == nil:
				missing = "maxItems"
			case s.Type.Is("integer") && (s.Min == nil || s.Max == nil):
				missing = "minimum and maximum"
			case s.Type.Is("object") && s.AdditionalProperties.Schema != nil && s.MaxProps == nil:
				missing = "maxProperties"
			}
			if missing != "" {
				say(strings.TrimSpace(o.String()+" "+f.place), "has no %s: what a caller sends has a bound", missing)
			}
		}
	}
}

func plain(c contract, say say) {
	for _, o := range c.operations {
		for _, f := range append(o.incoming(), o.outgoing()...) {
			s := f.schema
			if len(s.OneOf)+len(s.AnyOf)+len(s.AllOf) > 0 || s.Not != nil || s.Discriminator != nil {
				say(strings.TrimSpace(o.String()+" "+f.place), "has alternatives (oneOf, anyOf, allOf, not, discriminator), which generators of clients make differently: one flat schema with an enum that tells")
			}
			if s.Type == nil || s.Type.Is("number") {
				say(strings.TrimSpace(o.String()+" "+f.place), "has no type, or is a number that readers round: say which of string, integer, boolean, array, object")
			}
		}
	}
}

func idsAndTimes(c contract, say say) {
	for _, o := range c.operations {
		for _, f := range append(o.incoming(), o.outgoing()...) {
			name, s := f.name(), f.schema
			if (name == "id" || strings.HasSuffix(name, "_id")) && s.Format != "uuid" {
				say(o.String()+" "+f.place, "is an id and no string of the format uuid")
			}
			if called := strings.HasSuffix(name, "_at"); called != (s.Format == "date-time") && f.place != "" {
				say(o.String()+" "+f.place, "is called %s and has the format %q: times end in _at and are date-times", name, s.Format)
			}
		}
	}
}

// priced are the names of money. Whether a field is money only its name tells.
var priced = regexp.MustCompile(`(^|_)(amount|price|fee|balance)(_|$)`)

func (f field) isMoney() bool {
	return priced.MatchString(f.name()) && !f.schema.Type.Is("object") && !f.schema.Type.Is("array")
}

func money(c contract, say say) {
	const most = 1<<53 - 1 // what every reader of JSON keeps exactly
	for _, o := range c.operations {
		for _, f := range append(o.body(), o.outgoing()...) {
			if !f.isMoney() {
				continue
			}
			s := f.schema
			if !s.Type.Is("integer") || s.Format != "int64" || s.Max == nil || *s.Max > most || s.Min == nil || *s.Min < -most {
				say(o.String()+" "+f.place, "is money and no integer of minor units: {type: integer, format: int64, minimum: …, maximum: 9007199254740991}")
			}
			if f.parent == nil || f.parent.Properties["currency"] == nil {
				say(o.String()+" "+f.place, "is money without a `currency` beside it")
			}
		}
	}
}
