package users

import (
	"strings"
	"unicode"

	"github.com/oapi-codegen/nullable"
	"golang.org/x/text/unicode/norm"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/problem"
)

// patch is what a merge patch (RFC 7396) does to a profile.
type patch struct{ name, locale change }

// change is what it does to one field: nothing unless set, empty it when value is nil, else replace it.
type change struct {
	set   bool
	value *string
}

// newPatch reads a patch. A name is kept as its owner writes it, but it can be seen and stays on its line.
func newPatch(p usersv1.UserPatch) (patch, error) {
	made := patch{name: changeOf(p.Name), locale: changeOf(p.Locale)}
	if made.name.value == nil {
		return made, nil
	}
	name := norm.NFC.String(strings.TrimSpace(*made.name.value))
	made.name.value = &name
	switch {
	case !strings.ContainsFunc(name, seen):
		return patch{}, invalidName("blank", "has nothing that can be seen; send null for no name")
	case strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
	}):
		return patch{}, invalidName("characters", "has line breaks or other control characters")
	}
	return made, nil
}

// seen reports whether a character leaves a mark by itself. Those that join or fill may stand beside one: emoji and some scripts need them.
func seen(r rune) bool {
	return unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

func changeOf(n nullable.Nullable[string]) change {
	if value, err := n.Get(); err == nil {
		return change{set: true, value: &value}
	}
	return change{set: n.IsSpecified()}
}

func invalidName(code, detail string) error {
	return problem.Invalid.New("validation-failed", "Some of the input is not allowed.").
		With(problem.Field{Pointer: "/name", Code: code, Detail: detail})
}
