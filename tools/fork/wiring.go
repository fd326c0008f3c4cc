package main

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	caddyfile = "deploy/gateway/Caddyfile"
	together  = "docker-compose.yml"
	apart     = "deploy/apart.yml"
)

// edit changes a file; one that the fork does without stays away.
func (t tree) edit(name string, change func(content []byte) ([]byte, error)) error {
	content, there := t[name]
	if !there {
		return nil
	}
	made, err := change(content)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t[name] = made
	return nil
}

// lastModule is the end of the README's list of modules.
var lastModule = regexp.MustCompile(`(?:\n<!-- only with \w+ -->\n- \*\*\w+\*\*: .*\n<!-- end \w+ -->)+\n`)

// wireModule adds the lines that a module has outside its folders.
func (t tree) wireModule(p plan) error {
	return errors.Join(
		t.edit("services/app.go", func(content []byte) ([]byte, error) {
			calls := "nil"
			if p.Auth {
				calls = `[]string{"auth"}`
			}
			content, err := inLiteral(content, "modules", "", "", fmt.Sprintf(`%q: {map[string][]byte{"v1": %s.Spec}, %s, (*app).%s},`, p.Module, p.API, calls, p.Module))
			if err != nil {
				return nil, err
			}
			return withImport(content, p.GoModule, p.API, p.GoModule+"/api/"+p.Module+"/v1")
		}),
		t.edit("services/main_test.go", func(content []byte) ([]byte, error) { // before the chapter in which everybody goes home
			return literally(content, true, "chapters", "", "", []string{fmt.Sprintf(`{%q, (*teller).tell%s},`, p.Module, p.Types)})
		}),
		t.scopes(p),
		t.public(p),
		t.edit(readme, func(content []byte) ([]byte, error) { // in the list of modules, which a fork may have rewritten
			end := lastModule.FindIndex(content)
			if end == nil {
				return content, nil
			}
			line := fmt.Sprintf("<!-- only with %s -->\n- **%[1]s**: %s\n<!-- end %[1]s -->\n", p.Module, p.ManyWords)
			return slices.Concat(content[:end[1]], []byte(line), content[end[1]:]), nil
		}),
		t.edit(caddyfile, func(content []byte) ([]byte, error) {
			routes := append(p.routes(), fmt.Sprintf(`"GET /docs/%s-v1.yaml" %[1]s`, p.Module))
			content, err := lines(content).in("\tmap \"").afterLast([]string{"# end ", "\tmap \""}, append([]string{""}, indent("\t\t", region("#", p.Module, routes...))...))
			if err != nil {
				return nil, err
			}
			return lines(content).afterLast([]string{"# end "}, indent("\t", region("#", p.Module,
				fmt.Sprintf("@%s vars {module} %[1]s", p.Module),
				fmt.Sprintf("handle @%s {", p.Module),
				fmt.Sprintf("\treverse_proxy {$%s_UPSTREAM:%s:8080} {", strings.ToUpper(p.Module), p.Module),
				"\t\timport instances", "\t}", "}")))
		}),
		t.compose(p))
}

// wireResource adds the lines that one more resource has outside its module's folders.
func (t tree) wireResource(p plan) error {
	return errors.Join(t.scopes(p), t.public(p), t.edit(caddyfile, func(content []byte) ([]byte, error) {
		return lines(content).in("\tmap \"").before("# end "+p.Module, indent("\t\t", p.routes()))
	}))
}

// scopes grants the scopes to everybody who has an account.
func (t tree) scopes(p plan) error {
	return t.edit("services/auth/roles.go", func(content []byte) ([]byte, error) {
		var missing []string
		for _, scope := range []string{p.Scope + ":read", p.Scope + ":write"} {
			if !bytes.Contains(content, []byte(`"`+scope+`"`)) && (!p.Public || scope == p.Scope+":write") {
				missing = append(missing, fmt.Sprintf("%q", scope))
			}
		}
		if missing == nil {
			return content, nil
		}
		return inLiteral(content, "permissions", "roleUser", strings.TrimSuffix(p.Module, "auth"), strings.Join(missing, ", ")+",")
	})
}

// public names the operations that need no token in the list of those.
func (t tree) public(p plan) error {
	if !p.Public {
		return nil
	}
	return t.edit("services/serve_test.go", func(content []byte) ([]byte, error) {
		return inLiteral(content, "public", "", p.Module, fmt.Sprintf(`"GET /v1/%s", "GET /v1/%[1]s/{id}",`, p.Many))
	})
}

// routes are the gateway's lines of a resource.
func (p plan) routes() (routes []string) {
	for _, method := range []string{"GET", "POST"} {
		routes = append(routes, fmt.Sprintf(`"%s /v1/%s" %s`, method, p.Many, p.Module))
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		routes = append(routes, fmt.Sprintf(`"~^%s /v1/%s/[^/]+$" %s`, method, p.Many, p.Module))
	}
	return routes
}

// compose gives the module its login where modules run together, and a service of its own where they run apart.
func (t tree) compose(p plan) error {
	upper, in := strings.ToUpper(p.Module), func(by string, more ...string) []string { return indent(by, region("#", p.Module, more...)) }
	owner := regexp.MustCompile(`\n +DATABASE_URL: postgres://[^@\s]+@(\S+)`).FindSubmatch(t[together])
	if owner == nil {
		return fmt.Errorf("%s: has no DATABASE_URL of the owner to make that of a module like", together)
	}
	url := fmt.Sprintf("%s_DATABASE_URL: postgres://%s:local-only-%s@%s", upper, p.Login, p.Module, owner[1])
	secret := fmt.Sprintf("%s_CLIENT_SECRET: local-only-secret-of-the-module-%s", upper, p.Module)
	err := t.edit(together, func(content []byte) ([]byte, error) {
		for _, service := range []string{"  migrate:", "  backend:"} {
			var err error
			if content, err = lines(content).in(service).afterLast([]string{"DATABASE_URL: "}, in("      ", url)); err != nil {
				return nil, err
			}
		}
		return content, nil
	})
	return errors.Join(err, t.edit(apart, func(content []byte) ([]byte, error) {
		service := []string{p.Module + ":", "  <<: *module", "  command: [serve, --modules=" + p.Module + "]", "  environment:", "    <<: *settings"}
		if p.Auth {
			service = append(service, indent("    ", region("#", "auth", "AUTH_URL: http://auth:8080"))...)
		}
		services := lines(content)
		if services.to = services.find("  gateway:"); services.to < 0 {
			return nil, errors.New("has no service gateway")
		}
		content, err := services.afterLast([]string{"# end ", "  backend:"}, append([]string{""}, in("  ", append(service, "    "+url, "    "+secret)...)...))
		if err != nil {
			return nil, err
		}
		if content, err = lines(content).in("  gateway:").in("    depends_on:").afterLast([]string{"# end ", "depends_on:"}, in("      ", p.Module+": {condition: service_healthy}")); err != nil || !p.Auth {
			return content, err
		}
		return lines(content).in("  auth:").afterLast([]string{"_CLIENT_SECRET: "}, in("      ", secret))
	}))
}
