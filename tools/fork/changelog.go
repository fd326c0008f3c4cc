package main

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"golang.org/x/mod/semver"
)

const changelogFile = "CHANGELOG.md"

// aboutReleases are the files about the releases of a tree: what changed in them, and the contracts as they were released. A fork has its
// own, and begins without: nobody calls it yet, so it may change what it likes.
var aboutReleases = []string{changelogFile, "api/*/CHANGELOG.md", "api/*/released/*"}

func dropReleases(t tree) {
	for name := range t {
		for _, pattern := range aboutReleases {
			if ok, _ := path.Match(pattern, name); ok {
				delete(t, name)
			}
		}
	}
}

// versionHeading begins what a release says of itself: ## v0.2.0 - 2026-12-01
var versionHeading = regexp.MustCompile(`(?m)^## (v[0-9]\S*).*\n`)

// notes are the sections of a changelog about the releases after one, up to another and with it, as they stand there.
func notes(changelog, after, upTo string) string {
	var said strings.Builder
	found := versionHeading.FindAllStringSubmatchIndex(changelog, -1)
	for i, m := range found {
		end := len(changelog)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		if version := changelog[m[2]:m[3]]; semver.Compare(version, after) > 0 && semver.Compare(version, upTo) <= 0 {
			said.WriteString(changelog[m[0]:end])
		}
	}
	return strings.TrimSpace(said.String())
}

// said is what a changelog says of one release, without its heading.
func said(changelog, version string) string {
	for _, m := range versionHeading.FindAllStringSubmatchIndex(changelog, -1) {
		if changelog[m[2]:m[3]] == version {
			text, _, _ := strings.Cut(changelog[m[1]:], "\n## ")
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// firstChangelog is how a fork's own changelog begins: the template's is about other releases.
func firstChangelog(version string) string {
	return fmt.Sprintf(`# Changelog

What changed in each release of this repository. What changed in the template is in its own changelog; make upgrade shows it.

## Unreleased

### Added

- Everything, from release %s of the template.
`, version)
}

// goodVersion refuses what is no name of a release.
func goodVersion(version string) error {
	if !semver.IsValid(version) || semver.Canonical(version) != version {
		return fmt.Errorf("VERSION=%s is no version; one is v1.2.3", version)
	}
	return nil
}
