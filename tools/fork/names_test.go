package main

import (
	"strings"
	"testing"
)

func TestANameIsReadInEveryForm(t *testing.T) {
	t.Parallel()
	got, err := newNoun("gift-cards", "")
	want := noun{
		Many: "gift-cards", One: "gift-card", ManyWords: "gift cards", OneWords: "gift card", AOne: "a gift card", Title: "Gift cards",
		Types: "GiftCards", Type: "GiftCard", Ops: "GiftCards", Op: "GiftCard", Vars: "giftCards", Var: "giftCard", Table: "gift_cards", File: "gift_card",
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := newNoun("api-keys", ""); err != nil || got.Type != "APIKey" || got.Op != "ApiKey" || got.Var != "apiKey" || got.AOne != "an api key" {
		t.Errorf("what is spoken in letters is %+v, %v", got, err)
	}
	if got, err := newNoun("orders", ""); err != nil || got.Table != "orders" {
		t.Errorf("one of them is a word of SQL, which no table is called: %+v, %v", got, err)
	}
	if got, err := newNoun("news", "news-item"); err != nil || got.Type != "NewsItem" || got.Types != "News" {
		t.Errorf("with a singular of its own: %+v, %v", got, err)
	}
}

func TestTheSingularOfAPlural(t *testing.T) {
	t.Parallel()
	for many, one := range map[string]string{
		"invoices": "invoice", "people": "person", "statuses": "status", "addresses": "address", "categories": "category", "boxes": "box",
		"houses": "house", "buses": "bus", "responses": "response", "branches": "branch", "caches": "cache", "sizes": "size", "heroes": "hero",
		"shelves": "shelf", "movies": "movie", "ties": "tie", "days": "day", "quizzes": "quiz", "menus": "menu", "data": "datum", "criteria": "criterion",
		"analyses": "analysis", "causes": "cause", "dishes": "dish", "classes": "class", "taxes": "tax", "keys": "key", "bonuses": "bonus",
	} {
		if got, err := singular(many); err != nil || got != one {
			t.Errorf("one of %s is %q, %v; want %s", many, got, err, one)
		}
	}
}

func TestANameThatCannotBeIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, one, says string }{
		{"", "", "say a NAME"},
		{"Invoices", "", "lower-case"},
		{"gift_cards", "", "lower-case"},
		{"gift--cards", "", "lower-case"},
		{"-gifts", "", "lower-case"},
		{"invoices2", "", "lower-case"},
		{"../invoices", "", "lower-case"},
		{"gift cards", "", "lower-case"},
		{"invoice", "", "say invoices"},
		{"category", "", "say categories"},
		{"person", "", "say people"},
		{"status", "", "say statuses"},
		{"feedback", "", "SINGULAR=feedback-item"},
		{"feedback", "feedback-item", "is no plural"},
		{"address", "", "say addresses"},
		{"analysis", "", "say analyses"},
		{"news", "", "SINGULAR=news-item"},
		{"series", "", "SINGULAR=series-item"},
		{"news", "news", "cannot be the singular"},
		{"news", "News", "cannot be the singular"},
		{"range", "", "a keyword of Go"},
		{"types", "", "type is a keyword of Go"},
		{"ranges", "", "range is a keyword of Go"},
		{"strings", "", "string is a word that Go declares itself"},
		{"errors", "", "error is a word that Go declares itself"},
		{"values", "", "a reserved word of SQL"},
		{"references", "", "a reserved word of SQL"},
		{"internal", "", "a folder that Go closes"},
		{"test", "", "the names of tests"},
		{"main", "", "the front door's"},
		{"docs", "", "a path of the server itself"},
		{"holds", "", "promised to transactions"},
		{"windows", "", "built on some systems only"},
		{"shop-windows", "", "built on some systems only"},
		{"unit-tests", "", "is a test"},
		{strings.Repeat("long-", 11) + "names", "", "too long"},
	} {
		if n, err := newNoun(c.name, c.one); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %+v, %v; want %q", c.name, n, err, c.says)
		}
	}
}
