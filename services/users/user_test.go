package users

import (
	"encoding/json"
	"errors"
	"testing"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/problem"
)

func TestAPatchSaysWhatStaysWhatIsEmptiedAndWhatIsReplaced(t *testing.T) {
	t.Parallel()
	show := func(c change) string {
		switch {
		case !c.set && c.value == nil:
			return "stays"
		case c.set && c.value == nil:
			return "is emptied"
		case c.set:
			return "becomes " + *c.value
		}
		return "is both absent and a value"
	}
	for _, c := range []struct{ body, name, locale, refused string }{
		{`{}`, "stays", "stays", ""},
		{`{"name":null}`, "is emptied", "stays", ""},
		{`{"name":"Ada","locale":null}`, "becomes Ada", "is emptied", ""},
		{`{"locale":"en-GB"}`, "stays", "becomes en-GB", ""},
		{`{"name":"  Ada  "}`, "becomes Ada", "stays", ""},
		{`{"name":"Jose\u0301"}`, "becomes Jos\u00e9", "stays", ""},
		{`{"name":" \t "}`, "", "", "blank"},
		{`{"name":"\u200b\u2060"}`, "", "", "blank"},
		{`{"name":"\u3164"}`, "", "", "blank"},
		{`{"name":"\ud83d\udc69\u200d\ud83d\ude80"}`, "becomes \U0001f469\u200d\U0001f680", "stays", ""}, // they join emoji and some scripts
		{`{"name":"Ada\u2028Lovelace"}`, "", "", "characters"},
		{`{"name":"Ada\nLovelace"}`, "", "", "characters"},
		{`{"name":"Ada\u0000"}`, "", "", "characters"},
	} {
		var body usersv1.UserPatch
		if err := json.Unmarshal([]byte(c.body), &body); err != nil {
			t.Fatal(err)
		}
		p, err := newPatch(body)
		var refused *problem.Error
		if errors.As(err, &refused) {
			if len(refused.Fields) != 1 || refused.Fields[0].Code != c.refused || refused.Fields[0].Pointer != "/name" {
				t.Errorf("%s is refused with %+v, want %q", c.body, refused.Fields, c.refused)
			}
			continue
		}
		if show(p.name) != c.name || show(p.locale) != c.locale || c.refused != "" {
			t.Errorf("%s: name %s and locale %s; want %s and %s", c.body, show(p.name), show(p.locale), c.name, c.locale)
		}
	}
}
