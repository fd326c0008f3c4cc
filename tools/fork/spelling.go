package main

import (
	"bytes"
	"go/scanner"
	"go/token"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A speller writes the names of one tree in place of another's. A name of two words has many spellings, and each place wants its own:
// acme-pay is a program, an image and a folder, acme_pay_users a role of Postgres, ACME_PAY_API_PORT a variable, Acme Pay a word of prose,
// AcmePay a part of an identifier.
//
// A database and its owner are bare names, and so spelled like the program: SQL has to quote them.
type speller struct {
	from, to template
	find     *regexp.Regexp
}

func newSpeller(from, to template) speller { return speller{from, to, finder(from)} }

// finder finds the module path, as it is and as a pattern has it, and every spelling of the name. Before them stand the checksums of lock
// files: letters that mean nothing are no name.
func finder(t template) *regexp.Regexp {
	words := strings.Split(t.Name, "-")
	name := "(?i:" + strings.Join(words, "[-_]") + ")"
	if len(words) > 1 { // without a mark between them only capitals say that it is the name: "to do" is none for to-do
		for i, w := range words {
			words[i] = capital(w)
		}
		camel := strings.Join(words, "")
		name += "|" + strings.Join(words, " ") + "|" + camel + "|" + strings.ToLower(camel[:1]) + camel[1:]
	}
	return regexp.MustCompile(`(\bh1:[A-Za-z0-9+/]{43}=|\bsha[0-9]{3}[-:][A-Za-z0-9+/=]{40,})|(` +
		regexp.QuoteMeta(t.Module) + ")|(" + regexp.QuoteMeta(regexp.QuoteMeta(t.Module)) + ")|" + name)
}

// has reports whether there may be anything to respell: to look closely is slow, and most files have nothing.
func (s speller) has(content []byte) bool {
	first, _, _ := strings.Cut(s.from.Name, "-")
	return bytes.Contains(bytes.ToLower(content), []byte(first)) || bytes.Contains(content, []byte(s.from.Module)) ||
		bytes.Contains(content, []byte(regexp.QuoteMeta(s.from.Module)))
}

// file respells the content of a file. In Go an identifier stays one.
func (s speller) file(path string, content []byte) []byte {
	if !s.has(content) {
		return content
	}
	var identifiers map[int]bool
	if strings.HasSuffix(path, ".go") {
		identifiers = s.identifiers(content)
	}
	return s.replace(content, identifiers)
}

// text respells a path or a line.
func (s speller) text(text string) string { return string(s.replace([]byte(text), nil)) }

// replace respells what find finds, which is never longer than a line; identifier has the offsets that stand in one.
func (s speller) replace(content []byte, identifier map[int]bool) []byte {
	const checksum, module, pattern = 2, 4, 6 // the groups of finder
	var out []byte
	done := 0
	for at := 0; at < len(content); {
		line := content[at:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end+1]
		}
		var m []int
		if s.has(line) {
			m = s.find.FindSubmatchIndex(line)
		}
		if m == nil {
			at += len(line)
			continue
		}
		from, to := at+m[0], at+m[1]
		before, found, after := content[:from], string(content[from:to]), content[to:]
		at = to
		var instead string
		switch isModule, isPattern := m[module] >= 0, m[pattern] >= 0; {
		case m[checksum] >= 0:
			continue
		case (isModule || isPattern) && !wholePath(before, after): // another module's path begins like it
			at = from + 1
			continue
		case isModule:
			instead = s.to.Module
		case isPattern:
			instead = regexp.QuoteMeta(s.to.Module)
		case insideWord(before, found, after):
			continue
		default:
			instead = s.like(found, before, after, identifier[from])
		}
		out = append(append(out, content[done:from]...), instead...)
		done = to
	}
	if done == 0 {
		return content
	}
	return append(out, content[done:]...)
}

// like spells the new name as the old one is spelled where it was found.
func (s speller) like(found string, before, after []byte, identifier bool) string {
	last, _ := utf8.DecodeLastRune(before)
	next, _ := utf8.DecodeRune(after)
	touches := func(mark rune) bool { return strings.ContainsRune(found, mark) || last == mark || next == mark }
	upper := found == strings.ToUpper(found)
	title := !upper && unicode.IsUpper(rune(found[0]))
	joined := identifier || unicode.IsUpper(next) || title && (unicode.IsLetter(last) || unicode.IsDigit(next)) ||
		strings.Contains(s.from.Name, "-") && !strings.ContainsAny(found, "-_ ")
	words := strings.Split(s.to.Name, "-")
	switch {
	case upper && touches('-') && !touches('_'):
		return strings.ToUpper(s.to.Name)
	case upper:
		return strings.ToUpper(strings.Join(words, "_"))
	}
	for i, w := range words {
		if title || i > 0 && joined && !touches('_') {
			words[i] = capital(w)
		}
	}
	switch {
	case touches('_'):
		return strings.Join(words, "_")
	case joined:
		return strings.Join(words, "")
	case title && !touches('-') && !touches('/'): // not X-Groundwork-Id, not Groundwork/1.0
		return strings.Join(words, " ")
	}
	return strings.Join(words, "-")
}

// identifiers are the offsets at which the name begins inside an identifier of Go code, and not in a comment or a string.
func (s speller) identifiers(content []byte) map[int]bool {
	at := map[int]bool{}
	var scan scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(content))
	scan.Init(file, content, func(token.Position, string) {}, 0) // what is no Go is text
	for {
		pos, kind, literal := scan.Scan()
		if kind == token.EOF {
			return at
		}
		if kind == token.IDENT {
			for _, m := range s.find.FindAllStringIndex(literal, -1) {
				at[file.Offset(pos)+m[0]] = true
			}
		}
	}
}

// wholePath reports whether a module path begins and ends there: example.com/house-two is another module than example.com/house.
func wholePath(before, after []byte) bool {
	last, _ := utf8.DecodeLastRune(before)
	next, size := utf8.DecodeRune(after)
	then, _ := utf8.DecodeRune(after[size:])
	inPath := func(r rune) bool {
		return unicode.IsLetter(r) && r != utf8.RuneError || unicode.IsDigit(r) || strings.ContainsRune("-_~", r)
	}
	return !inPath(last) && last != '.' && !inPath(next) && (next != '.' || !inPath(then))
}

// notAWord ends with what looks like the letter of a word and is none: \n, %s, %[1]s, %2F.
var notAWord = regexp.MustCompile(`(\\[a-z]|%(\[[0-9]\])?[a-z]|%[0-9A-F]{2})$`)

// insideWord reports whether the letters are part of a longer word: pay in payment is not the name Pay. A capital letter begins a word.
func insideWord(before []byte, found string, after []byte) bool {
	last, _ := utf8.DecodeLastRune(before)
	next, _ := utf8.DecodeRune(after)
	first, end := rune(found[0]), rune(found[len(found)-1])
	title := unicode.IsUpper(first) && found != strings.ToUpper(found)
	begins := !unicode.IsLetter(last) || title || unicode.IsUpper(first) && unicode.IsLower(last) || notAWord.Match(before[max(0, len(before)-5):])
	ends := !unicode.IsLetter(next) && !(unicode.IsDigit(next) && unicode.IsDigit(end)) || unicode.IsUpper(next) && !unicode.IsUpper(end)
	return !begins || !ends
}

func capital(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// binary files are left as they are: they would break.
func binary(content []byte) bool { return bytes.IndexByte(content, 0) >= 0 }
