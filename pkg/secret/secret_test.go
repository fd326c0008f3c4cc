package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"example.com/groundwork/pkg/secret"
)

func TestASecretIsNotSeen(t *testing.T) {
	t.Parallel()
	const text = "xqmarkerqx"
	s := secret.New(text)
	held := struct {
		Name   string
		S      secret.Text
		P      *secret.Text
		M      map[string]secret.Text
		hidden secret.Text
		inner  struct{ s secret.Text }
	}{"held", s, &s, map[string]secret.Text{"a": s}, s, struct{ s secret.Text }{s}}
	var out bytes.Buffer
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%X", "%d", "%T", "%10.3s"} {
		fmt.Fprintf(&out, verb+verb+"\n", s, held)
		fmt.Fprintf(&out, verb+"\n", errors.Join(fmt.Errorf("%w: "+verb, errors.New("wrapped"), s)))
	}
	fmt.Fprintln(&out, s, held, fmt.Sprint(s)+s.String())
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("line", "s", s, "held", held, "group", slog.GroupValue(slog.Any("s", s)))
	}
	if err := errors.Join(json.NewEncoder(&out).Encode(held), json.NewEncoder(&out).Encode(s), xml.NewEncoder(&out).Encode(s)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), text) || strings.Contains(out.String(), fmt.Sprintf("%x", text)) || strings.Contains(strings.ToLower(out.String()), fmt.Sprintf("%x", text)) {
		t.Errorf("it is seen:\n%s", &out)
	}
	if !strings.Contains(out.String(), secret.Mask) || s.Reveal() != text || s.Empty() || secret.New("").String() != "" || !(secret.Text{}).Empty() {
		t.Errorf("it is gone:\n%s", &out)
	}
}
