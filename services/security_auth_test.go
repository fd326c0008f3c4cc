package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// docs/security.md says of each requirement what meets it and which test shows that, or why it is not met. It must say so of all of them.

const securityPage = "docs/security.md"

// levels12 is how many requirements of level 1 and 2 each section of OWASP ASVS 5.0.0 has: 253. In each they come first, from 1.
const levels12 = `
	V1.1:2 V1.2:9 V1.3:11 V1.4:3 V1.5:2 V2.1:3 V2.2:3 V2.3:4 V2.4:1 V3.2:2 V3.3:4 V3.4:6 V3.5:5 V3.7:2 V4.1:3 V4.2:1 V4.3:2 V4.4:4
	V5.1:1 V5.2:3 V5.3:2 V5.4:3 V6.1:3 V6.2:12 V6.3:4 V6.4:4 V6.5:5 V6.6:3 V6.8:4 V7.1:3 V7.2:4 V7.3:2 V7.4:5 V7.5:2 V7.6:2
	V8.1:2 V8.2:3 V8.3:1 V8.4:1 V9.1:3 V9.2:4 V10.1:2 V10.2:2 V10.3:4 V10.4:11 V10.5:5 V10.6:2 V10.7:3 V11.1:2 V11.2:3 V11.3:3 V11.4:4 V11.5:1 V11.6:1
	V12.1:3 V12.2:2 V12.3:4 V13.1:1 V13.2:5 V13.3:2 V13.4:5 V14.1:2 V14.2:4 V14.3:3 V15.1:3 V15.2:3 V15.3:7
	V16.1:1 V16.2:5 V16.3:4 V16.4:3 V16.5:3 V17.1:1 V17.2:4 V17.3:2`

// requirements are those of ASVS and the ten risks of the API Security Top 10 of 2023, by number.
func requirements() (numbers []string) {
	for _, section := range strings.Fields(levels12) {
		name, count, _ := strings.Cut(section, ":")
		n, _ := strconv.Atoi(count)
		for i := range n {
			numbers = append(numbers, fmt.Sprintf("%s.%d", name, i+1))
		}
	}
	for i := range 10 {
		numbers = append(numbers, fmt.Sprintf("API%d:2023", i+1))
	}
	return numbers
}

// accounts are the places of the page where a requirement may stand, by the heading above.
var accounts = []string{"The table", "Does not apply", "Not met, or in part", "Left to the fork"}

var (
	inBackticks = regexp.MustCompile("`([^`]+)`")
	listItem    = regexp.MustCompile(`^- (V[\d.]+(?:, V[\d.]+)*): \S`)
)

// unproven says what is wrong with the page.
func unproven(text string, tree files) (wrong []string) {
	all := requirements()
	where, count := map[string]string{}, map[string]int{}
	take := func(number, account string) {
		switch {
		case !slices.Contains(all, number):
			wrong = append(wrong, number+" is no requirement of level 1 or 2, and no risk")
		case where[number] != "":
			wrong = append(wrong, number+" stands twice: in "+where[number]+" and in "+account)
		default:
			where[number] = account
			count[account]++
		}
	}
	account := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			account = title
		}
		switch {
		case account == accounts[0] && (strings.HasPrefix(line, "| V") || strings.HasPrefix(line, "| API")):
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			take(cells[0], account)
			wrong = append(wrong, unprovenRow(cells, tree)...)
		case slices.Contains(accounts[1:], account) && strings.HasPrefix(line, "- "):
			m := listItem.FindStringSubmatch(line)
			if m == nil {
				wrong = append(wrong, "an item does not begin with its numbers and say why: "+line)
				continue
			}
			for name := range strings.SplitSeq(m[1], ", ") {
				numbers := within(all, name)
				if len(numbers) == 0 {
					numbers = []string{name}
				}
				for _, number := range numbers {
					take(number, account)
				}
			}
		}
	}
	for _, number := range all {
		if where[number] == "" {
			wrong = append(wrong, number+" stands nowhere")
		}
	}
	says := fmt.Sprintf("Of %d requirements %d are met by a row of the table, %d do not apply, %d are not met or in part, and %d are left to the fork.",
		len(all), count[accounts[0]], count[accounts[1]], count[accounts[2]], count[accounts[3]])
	if !strings.Contains(strings.Join(strings.Fields(text), " "), says) {
		wrong = append(wrong, "the counts are others: "+says)
	}
	return wrong
}

// within are the requirements of a chapter or section, or the one that has the name.
func within(all []string, name string) (numbers []string) {
	for _, number := range all {
		if number == name || strings.HasPrefix(number, name+".") {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// unprovenRow wants something that meets the requirement, and a test in the file that it is said to be in.
func unprovenRow(cells []string, tree files) (wrong []string) {
	if len(cells) != 4 {
		return []string{fmt.Sprintf("%s has %d cells, want number, what is asked, what meets it, test", cells[0], len(cells))}
	}
	met, tests, waiting := 0, 0, []string(nil)
	for _, m := range inBackticks.FindAllStringSubmatch(cells[2], -1) {
		if !strings.Contains(m[1], "/") || strings.HasPrefix(m[1], "/") { // a name of Go, or a path of the API
			continue
		}
		if !tree.has(m[1]) {
			wrong = append(wrong, cells[0]+" names the file "+m[1]+", which is not there")
		}
		met++
	}
	for _, m := range inBackticks.FindAllStringSubmatch(cells[3], -1) {
		switch {
		case testName.MatchString(m[1]):
			waiting = append(waiting, m[1])
		case !tree.has(m[1]):
			wrong = append(wrong, cells[0]+" names the file "+m[1]+", which is not there")
			waiting = nil
		default:
			for _, test := range waiting {
				if !strings.Contains(tree[m[1]], "\nfunc "+test+"(t *testing.T) {") {
					wrong = append(wrong, cells[0]+": there is no "+test+" in "+m[1])
				}
				tests++
			}
			waiting = nil
		}
	}
	for _, test := range waiting {
		wrong = append(wrong, cells[0]+" does not say where "+test+" is")
	}
	if met == 0 {
		wrong = append(wrong, cells[0]+" names no file that meets it")
	}
	if tests == 0 && len(wrong) == 0 {
		wrong = append(wrong, cells[0]+" names no test")
	}
	return wrong
}

func TestTheSecurityPageIsProven(t *testing.T) {
	t.Parallel()
	tree := theTree(t)
	text := tree[securityPage]
	for _, w := range unproven(text, tree) {
		t.Error(w)
	}
	if n := len(requirements()); n != 253+10 {
		t.Errorf("there are %d requirements: ASVS 5.0.0 has 253 of level 1 and 2", n)
	}

	row := regexp.MustCompile(`(?m)^\| V6\.2\.1 \|.*$`).FindString(text)
	cells := strings.Split(row, " | ")
	if len(cells) != 4 {
		t.Fatalf("V6.2.1 is no row: %q", row)
	}
	for want, broken := range map[string]string{
		"V6.2.1 names the file services/auth/gone.go, which is not there":        strings.Replace(row, "services/auth/password.go", "services/auth/gone.go", 1),
		"V6.2.1 names the file services/auth/gone_test.go, which is not there":   strings.Replace(row, "services/auth/password_test.go", "services/auth/gone_test.go", 1),
		"V6.2.1: there is no TestGone in services/auth/password_test.go":         strings.Replace(row, "TestCheckPassword", "TestGone", 1),
		"V6.2.1: there is no TestCheckPassword in services/auth/session_test.go": strings.Replace(row, "services/auth/password_test.go", "services/auth/session_test.go", 1),
		"V6.2.1 names no file that meets it":                                     strings.Replace(row, cells[2], "us", 1),
		"V6.2.1 names no test":                                                   strings.Replace(row, cells[3], "all of them |", 1),
		"V6.2.1 does not say where TestCheckPassword is":                         strings.Replace(row, cells[3], "`TestCheckPassword` |", 1),
		"V6.2.1 has 3 cells, want number, what is asked, what meets it, test":    strings.Join(cells[:3], " | ") + " |",
		"V6.2.1 stands twice: in The table and in The table":                     row + "\n" + row,
		"V6.2.1 stands nowhere":                                                  "",
		"V6.2.99 is no requirement of level 1 or 2, and no risk":                 strings.Replace(row, "V6.2.1", "V6.2.99", 1),
		"the counts are others: Of 263 requirements ":                            "",
		"V17.1.1 stands twice: in Does not apply and in Left to the fork":        row + "\x00- V17.1.1: also here.",
		"an item does not begin with its numbers and say why: - something else":  row + "\x00- something else",
		"V99 is no requirement of level 1 or 2, and no risk":                     row + "\x00- V99: a chapter that is not there.",
	} {
		replaced, more, _ := strings.Cut(broken, "\x00")
		copied := strings.Replace(text, row, replaced, 1) + "\n" + more + "\n"
		if copied == text+"\n\n" {
			t.Errorf("the break changes nothing: %s", want)
		}
		if got := unproven(copied, tree); !slices.ContainsFunc(got, func(w string) bool { return strings.HasPrefix(w, want) }) {
			t.Errorf("of a broken page it finds %q; want %q", got, want)
		}
	}
}

// dangerous are packages whose use would open what the page says is closed: other programs, raw memory, decoders that make any type or that
// fetch what a document names, ciphers and hashes that are broken.
var dangerous = []string{
	"C", "crypto/des", "crypto/md5", "crypto/rc4", "encoding/gob", "encoding/xml", "net/http/cgi", "net/rpc", "os/exec", "plugin", "unsafe",
}

// unpredictable must not make anything that nobody is to guess. Elsewhere it spreads retries in time.
var unpredictable = regexp.MustCompile(`^(services/auth|pkg/(authn|mail|request|seal))/`)

// opened lists what the program imports of that, as far as the program's main package leads.
func opened(tree files) (list []string) {
	seen, next := map[string]bool{}, []string{"services"}
	for len(next) > 0 {
		folder := next[0]
		next = next[1:]
		for _, name := range tree.match(folder + "/*.go") {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, imported := range tree.importsOf(name) {
				inside, isOurs := strings.CutPrefix(imported, ours)
				switch {
				case isOurs && !seen[inside]:
					seen[inside] = true
					next = append(next, inside)
				case slices.Contains(dangerous, imported), strings.HasPrefix(imported, "math/rand") && unpredictable.MatchString(name):
					list = append(list, name+" imports "+imported)
				}
			}
		}
	}
	return list
}

func TestTheProgramUsesNothingDangerous(t *testing.T) {
	t.Parallel()
	tree := theTree(t)
	for _, w := range opened(tree) {
		t.Error(w)
	}
	for want, breaks := range map[string]func(files){
		"services/auth/x.go imports os/exec":      adding("services/auth/x.go", `package auth; import _ "os/exec"`),
		"pkg/seal/x.go imports math/rand/v2":      adding("pkg/seal/x.go", `package seal; import _ "math/rand/v2"`),
		"pkg/problem/x.go imports encoding/xml":   adding("pkg/problem/x.go", `package problem; import _ "encoding/xml"`),
		"api/auth/v1/x.go imports unsafe":         adding("api/auth/v1/x.go", `package authv1; import _ "unsafe"`),
		"migrations/x.go imports C":               adding("migrations/x.go", `package migrations; import "C"`),
		"services/auth/mfa.go imports crypto/md5": replacing("services/auth/mfa.go", `"crypto/sha1"`, `"crypto/md5"`),
	} {
		copied := maps.Clone(tree)
		breaks(copied)
		if got := opened(copied); !slices.Contains(got, want) {
			t.Errorf("it finds %q; want %q", got, want)
		}
	}
}
