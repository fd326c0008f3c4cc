package main

import (
	"errors"
	"fmt"
	"go/build"
	"go/token"
	"go/types"
	"io"
	"regexp"
	"slices"
	"strings"
)

// noun is what a resource is called, in every form that its code needs.
type noun struct {
	Many, One           string // gift-cards, gift-card: in paths, scopes and tags
	ManyWords, OneWords string // gift cards, gift card: in texts
	AOne, Title         string // a gift card, Gift cards
	Types, Type         string // GiftCards, GiftCard: in the contract, and in Go
	Ops, Op             string // the same in the names of operations, where an API is an Api
	Vars, Var           string // giftCards, giftCard: in the module
	Table, File         string // gift_cards, gift_card
}

var kebab = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)

// newNoun reads a name; one is its singular, "" to work it out.
func newNoun(name, one string) (noun, error) {
	switch why := reserved(name); {
	case name == "":
		return noun{}, errors.New("say a NAME: a plural noun such as invoices or gift-cards")
	case !kebab.MatchString(name):
		return noun{}, fmt.Errorf("%q is not a name: lower-case letters, with hyphens between words, such as gift-cards", name)
	case why != "":
		return noun{}, fmt.Errorf("%q cannot be a name: it is %s", name, why)
	}
	before, last := name[:strings.LastIndex(name, "-")+1], name[strings.LastIndex(name, "-")+1:]
	if one == "" {
		found, err := singular(last)
		if err != nil {
			return noun{}, err
		}
		one = before + found
	}
	if irregular[last] == "" && !strings.HasSuffix(last, "s") {
		return noun{}, fmt.Errorf("%q is no plural, by which a list is known: take one that is, such as %s", name, before+plural(last))
	}
	if !kebab.MatchString(one) || one == name {
		return noun{}, fmt.Errorf("%q cannot be the singular of %q: another word, in lower-case letters, with hyphens between words", one, name)
	}
	n := noun{
		Many: name, One: one, ManyWords: strings.ReplaceAll(name, "-", " "), OneWords: strings.ReplaceAll(one, "-", " "),
		Types: camel(name, initials), Type: camel(one, initials), Ops: camel(name, nil), Op: camel(one, nil), Vars: lowerCamel(name), Var: lowerCamel(one), Table: strings.ReplaceAll(name, "-", "_"), File: strings.ReplaceAll(one, "-", "_"),
	}
	n.AOne, n.Title = article(n.OneWords)+" "+n.OneWords, strings.ToUpper(n.ManyWords[:1])+n.ManyWords[1:]
	return n, n.check()
}

// longest is how long an identifier of Postgres may be.
const longest = 63

// check refuses what is well-formed, and then no name for code, files or tables.
func (n noun) check() error {
	for _, word := range []string{n.Var, n.Vars, word(n.Many)} {
		why := reserved(word)
		if word == n.Var && !token.IsKeyword(word) && types.Universe.Lookup(word) == nil {
			continue // one of them is never a table, nor a folder
		}
		if why != "" {
			return fmt.Errorf("%q cannot be a name: %s is %s; take a longer one, such as invoice-%s", n.Many, word, why, n.Many)
		}
	}
	if index := n.Table + "_owner_id"; len(index) > longest {
		return fmt.Errorf("%q is too long: Postgres takes %d letters, and its index is called %s", n.Many, longest, index)
	}
	for _, file := range []string{"app_" + word(n.Many) + ".go", "store_" + n.Table + ".go", n.File + ".go"} {
		if strings.HasSuffix(file, "_test.go") || !everywhere(file) {
			return fmt.Errorf("%q cannot be a name: a file %s is a test, or built on some systems only", n.Many, file)
		}
	}
	return nil
}

// everywhere reports whether a file's name keeps it out of no build: one that ends in _windows.go is for one system.
func everywhere(file string) bool {
	nowhere := build.Context{GOOS: "none", GOARCH: "none", OpenFile: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("package x")), nil
	}}
	match, err := nowhere.MatchFile("", file)
	return match && err == nil
}

// word is a module's name where it has to be one word: its folder, package, schema, login and settings.
func word(name string) string { return strings.ReplaceAll(name, "-", "") }

// initials are spoken letter by letter, and written so in Go.
var initials = strings.Fields("acl api cpu css db dns gid html http https id ip json qps ram rpc sip sla smtp sql ssh tcp tls ttl udp ui uid uri url uuid vm xml")

func camel(name string, letters []string) string {
	var made strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		if slices.Contains(letters, part) {
			part = strings.ToUpper(part)
		}
		made.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return made.String()
}

// lowerCamel is camel with a small beginning, as what a package keeps to itself has it.
func lowerCamel(name string) string {
	first, _, _ := strings.Cut(name, "-")
	return first + camel(name, initials)[len(first):]
}

// article is the one that words are spoken with.
func article(words string) string {
	for _, spoken := range []string{"uni", "use", "usa", "uti", "eu", "one", "once"} { // they begin as "you" and "won" do
		if strings.HasPrefix(words, spoken) {
			return "a"
		}
	}
	if strings.ContainsAny(words[:1], "aeiou") || strings.HasPrefix(words, "hour") || strings.HasPrefix(words, "heir") {
		return "an"
	}
	return "a"
}

// Words that Postgres reads as its own wherever they stand (appendix C of its manual).
var sqlWords = strings.Fields(`all analyse analyze and any array as asc asymmetric authorization between binary both case cast check collate
	collation column concurrently constraint create cross current default deferrable desc distinct do else end except exists false fetch for
	foreign freeze from full grant group grouping having ilike in initially inner intersect into is isnull join lateral leading left like limit
	localtime natural not notnull null offset on only or order outer overlaps placing primary public references returning right row select
	similar some symmetric table tablesample then to trailing true union unique user using values variadic verbose when where window with`)

// Names that the go command gives a meaning, and paths that are not a module's.
var otherWords = map[string]string{
	"main": "the front door's", "internal": "a folder that Go closes to others", "vendor": "a folder of Go's", "testdata": "a folder that Go passes over",
	"test": "what Go ends the names of tests in", "init": "a function that Go calls by itself",
	"docs": "a path of the server itself", "dev": "a path of the server itself",
	"holds": "promised to transactions", "ledger": "promised to transactions",
}

const sql = "a reserved word of SQL"

// reserved says whose a word is, "" when it is free.
func reserved(word string) string {
	switch {
	case token.IsKeyword(word):
		return "a keyword of Go"
	case types.Universe.Lookup(word) != nil:
		return "a word that Go declares itself"
	case slices.Contains(sqlWords, word):
		return sql
	}
	return otherWords[word]
}

// Plurals that no rule below makes a singular of. Those without one have no singular of their own.
var irregular = map[string]string{
	"people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose", "teeth": "tooth", "feet": "foot",
	"criteria": "criterion", "data": "datum", "media": "medium", "indices": "index", "matrices": "matrix", "vertices": "vertex",
	"analyses": "analysis", "axes": "axis", "crises": "crisis", "diagnoses": "diagnosis", "theses": "thesis",
	"calves": "calf", "halves": "half", "knives": "knife", "leaves": "leaf", "lives": "life", "loaves": "loaf", "shelves": "shelf",
	"thieves": "thief", "wives": "wife", "wolves": "wolf",
	"calories": "calorie", "cookies": "cookie", "hoodies": "hoodie", "movies": "movie", "selfies": "selfie", "smoothies": "smoothie",
	"aches": "ache", "caches": "cache", "headaches": "headache", "niches": "niche", "canoes": "canoe", "shoes": "shoe", "toes": "toe",
	"aliases": "alias", "atlases": "atlas", "biases": "bias", "canvases": "canvas", "gases": "gas", "irises": "iris", "lenses": "lens",
	"quizzes": "quiz", "excuses": "excuse", "fuses": "fuse", "uses": "use", "menus": "menu", "gurus": "guru", "taxis": "taxi",
	"news": "", "series": "", "species": "", "equipment": "", "information": "", "feedback": "", "software": "", "hardware": "", "music": "",
	"sheep": "", "fish": "", "aircraft": "", "staff": "",
}

// Endings of plurals, the longer ones first, and what a singular has in their place. Where nothing replaces them it is a singular.
var endings = []struct{ plural, singular string }{
	{"ss", ""}, {"us", ""}, {"is", ""}, {"ies", "y"}, {"sses", "ss"}, {"shes", "sh"}, {"ches", "ch"}, {"xes", "x"}, {"tzes", "tz"},
	{"ouses", "ouse"}, {"auses", "ause"}, {"uses", "us"}, {"oes", "o"}, {"s", "-"},
}

// singular is one of what a word means several of.
func singular(word string) (string, error) {
	one, known := irregular[word]
	if known && one != "" {
		return one, nil
	}
	if known {
		return "", fmt.Errorf("one of %q has no name of its own; say it, such as SINGULAR=%s-item", word, word)
	}
	for _, e := range endings {
		if stem, ends := strings.CutSuffix(word, e.plural); ends && e.singular != "" && len(word) > 2 {
			if e.plural == "ies" && len(word) <= 4 {
				return stem + "ie", nil
			}
			return stem + strings.Trim(e.singular, "-"), nil
		} else if ends {
			break
		}
	}
	return "", fmt.Errorf("%q is one, and a name is for many: say %s (where it is many, say of what: NAME=%s SINGULAR=…)", word, plural(word), word)
}

// plural is a guess for a message.
func plural(word string) string {
	for many, one := range irregular {
		if one == word {
			return many
		}
	}
	last := word[len(word)-1]
	switch {
	case last == 'y' && len(word) > 1 && !strings.ContainsRune("aeiou", rune(word[len(word)-2])):
		return word[:len(word)-1] + "ies"
	case last == 's' || last == 'x' || strings.HasSuffix(word, "ch") || strings.HasSuffix(word, "sh"):
		return word + "es"
	}
	return word + "s"
}
