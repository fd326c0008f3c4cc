package httpserver

import "testing"

func TestATextIsUnicodeOrRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`"plain"`: true, `"\u0041\n"`: true, `"\ud83d\ude00"`: true, `"\uD83D\uDE00"`: true, `"\\ud800"`: true, `"\\\\ud800"`: true, `"\ufffd"`: true, "\"\U0001f600\"": true,
		`"\ud800"`: false, `"\udc00"`: false, `"\ud83d\ud83d\ude00"`: false, `"\ud83d\u0041"`: false, `"\ud83dx\ude00"`: false, `"\ude00\ud83d"`: false,
		`"\\\ud800"`: false, "\"\xff\"": false, "\"\xed\xa0\x80\"": false,
	} {
		if isUnicode([]byte(text)) != want {
			t.Errorf("%s is text: %v", text, !want)
		}
	}
}
