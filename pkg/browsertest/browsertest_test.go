package browsertest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/groundwork/pkg/browsertest"
)

func TestAPageIsDrivenInABrowser(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "by nobody", Path: "/elsewhere", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		_, _ = w.Write([]byte(`<title>` + r.URL.Path + `</title><script>document.title = 'taken over'</script>`))
	}))
	t.Cleanup(server.Close)
	page := b.Open(server.URL + "/here")
	if title := page.Run(`document.title`); title != "/here" {
		t.Errorf("the title is %q", title)
	}
	if got := page.Run(`new Promise((done) => setTimeout(() => done(6 * 7), 10))`); got != "42" {
		t.Errorf("a promise becomes %q", got)
	}
	if complaints := b.Complaints(); !strings.Contains(complaints, "Content Security Policy") {
		t.Errorf("the browser says nothing against an inline script: %q", complaints)
	}
	if cookies := b.Cookies(); len(cookies) != 1 || cookies[0].Name != "seen" || cookies[0].Path != "/elsewhere" || !cookies[0].HTTPOnly || cookies[0].SameSite != "Strict" || cookies[0].Expires >= 0 {
		t.Errorf("the cookies are %+v", cookies)
	}
	page.Run(`window.known = 'something'`)
	other := b.Open(server.URL + "/there")
	if page.Reload(); page.Run(`typeof window.known`) != "undefined" || other.Run(`location.pathname`) != "/there" {
		t.Error("a page that is loaded again knows what it knew, or is another one")
	}
}
