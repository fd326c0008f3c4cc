// Package etag compares versions as RFC 9110 has clients send them.
package etag

import (
	"strings"

	"example.com/groundwork/pkg/problem"
)

// Of makes the entity tag of a version.
func Of(version string) string { return `"` + version + `"` }

// None reports whether If-None-Match (nil when absent) names the tag, so that 304 is the answer. The comparison is weak.
func None(header *string, tag string) bool {
	return header != nil && matches(*header, tag, true)
}

// Check returns nil when If-Match names the tag, else 428 or 412. The comparison is strong.
func Check(header, tag string) error {
	if strings.TrimSpace(header) == "" {
		return problem.PreconditionRequired.New("precondition-required", "Send the ETag that the change is based on as If-Match.")
	}
	if !matches(header, tag, false) {
		return problem.PreconditionFailed.New("precondition-failed", "It has changed since; read it again.")
	}
	return nil
}

func matches(header, tag string, weak bool) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimSpace(candidate)
		if weak {
			candidate = strings.TrimPrefix(candidate, "W/")
		}
		if candidate == "*" || candidate == tag {
			return true
		}
	}
	return false
}
