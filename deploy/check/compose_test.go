package check

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	yaml "github.com/oasdiff/yaml3"
)

// setup is a set of compose files that is run together. Paths are from the root of the checkout.
type setup struct {
	name  string
	files []string
}

var setups = []setup{
	{"together", []string{"docker-compose.yml"}},
	{"apart", []string{"docker-compose.yml", "deploy/apart.yml"}},
}

const root = "../.."

// service is what these tests ask of a service.
type service struct {
	Image       string
	Command     []string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck struct{ Test []string }
	Build       struct{ Context, Dockerfile string }
}

func (s service) ours() bool { return strings.HasPrefix(s.Image, "groundwork:") }

func TestPortsArePublishedOnThisMachineOnly(t *testing.T) {
	t.Parallel()
	// What a Postgres, a Redis or a mail catcher of this machine has, and what make run takes.
	taken := []string{"5432", "6379", "1025", "8025", "55432", "56379", "9090"}
	form := regexp.MustCompile(`^127\.0\.0\.1:\$\{GROUNDWORK_[A-Z]+_PORT:-(\d+)\}:\d+$`)
	for _, s := range setups {
		published := map[string]string{}
		for name, service := range load(t, s) {
			for _, port := range service.Ports {
				m := form.FindStringSubmatch(port)
				if m == nil {
					t.Errorf("%s: %s publishes %q; it has to be 127.0.0.1:${GROUNDWORK_…_PORT:-…}:…", s.name, name, port)
					continue
				}
				if slices.Contains(taken, m[1]) || published[m[1]] != "" {
					t.Errorf("%s: port %s of %s is likely to be taken, here by %q", s.name, m[1], name, published[m[1]])
				}
				published[m[1]] = name
			}
		}
		if s.name == "apart" && published["8080"] != "gateway" {
			t.Errorf("apart: port 8080 is the gateway's, not that of %q", published["8080"])
		}
	}
}

func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	images := map[string]string{}
	for _, s := range setups {
		for name, service := range load(t, s) {
			images[name] = service.Image
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^FROM (?:--\S+ )*(\S+)`).FindAllStringSubmatch(read(t, "deploy/Dockerfile"), -1) {
		if m[1] != "scratch" {
			images["FROM "+m[1]] = m[1]
		}
	}
	for name, image := range images {
		_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
		if strings.HasPrefix(image, "groundwork:") {
			continue // built here
		}
		if !regexp.MustCompile(`^v?\d+`).MatchString(tag) {
			t.Errorf("%s: %s has no version: a run next year would be another one", name, image)
		}
	}
}

func TestVersionsAreThoseOfTheRestOfTheProject(t *testing.T) {
	t.Parallel()
	postgres := load(t, setups[0])["postgres"]
	local := find(t, "deploy/local/postgres.go", `downloaded\s*= embeddedpostgres\.V(\d+)`)
	if got := find(t, "docker-compose.yml", `image: postgres:(\d+)`); got != local {
		t.Errorf("compose runs Postgres %s, deploy/local %s", got, local)
	}
	// The images from 18 on keep their data in a folder of the major below this one.
	if want := "postgres-" + local + ":/var/lib/postgresql"; !slices.Equal(postgres.Volumes, []string{want}) {
		t.Errorf("the volume of Postgres is %s, want %s: another major cannot read the files", postgres.Volumes, want)
	}
	if image, pinned := find(t, "deploy/apart.yml", `image: caddy:(\d+\.\d+)-`), find(t, "Makefile", `(?m)^CADDY_VERSION := v(\d+\.\d+)\.`); image != pinned {
		t.Errorf("compose runs Caddy %s, make apart %s", image, pinned)
	}
	language := find(t, "go.mod", `(?m)^go (\d+\.\d+)`)
	if got := find(t, "deploy/Dockerfile", `golang:(\d+\.\d+)-`); got != language {
		t.Errorf("the image is built with Go %s, go.mod says %s", got, language)
	}
}

func TestOnlySettingsOfTheProgramAreSet(t *testing.T) {
	t.Parallel()
	known := settings(t)
	for _, s := range setups {
		for name, service := range load(t, s) {
			for key, value := range service.Environment {
				if service.ours() && !known[key] {
					t.Errorf("%s: %s sets %s, which is no setting (groundwork config)", s.name, name, key)
				}
				if service.ours() && value == "" {
					t.Errorf("%s: %s sets %s to nothing, which is the same as leaving it out", s.name, name, key)
				}
			}
		}
	}
}

// TestAModuleKnowsOnlyItsOwnSecrets is the wall between modules, as a deployment builds it.
func TestAModuleKnowsOnlyItsOwnSecrets(t *testing.T) {
	t.Parallel()
	apart := load(t, setups[1])
	if _, there := apart["backend"]; there {
		t.Error("apart runs the backend of the base file as well")
	}
	for _, module := range modules(t) {
		service, there := apart[module]
		if !there || !slices.Equal(service.Command, []string{"serve", "--modules=" + module}) {
			t.Errorf("apart has no service %s that serves %s alone", module, module)
		}
		for key := range service.Environment {
			owner, secret := strings.CutSuffix(key, "_DATABASE_URL")
			if !secret {
				owner, secret = strings.CutSuffix(key, "_CLIENT_SECRET")
				secret = secret && module != "auth" // it gives the tokens
			}
			if key == "DATABASE_URL" || secret && owner != strings.ToUpper(module) {
				t.Errorf("%s is given %s", module, key)
			}
		}
	}
	for name, service := range apart {
		if _, owner := service.Environment["DATABASE_URL"]; owner && name != "migrate" {
			t.Errorf("%s logs in as the owner of everything; only migrate may", name)
		}
	}
}

// TestNoSecretOfAComposeFileWorksElsewhere reads them and lets the program refuse them.
func TestNoSecretOfAComposeFileWorksElsewhere(t *testing.T) {
	t.Parallel()
	for _, s := range setups {
		for name, service := range load(t, s) {
			if service.ours() {
				refused(t, s.name+": "+name, service)
			}
		}
	}
}

func refused(t *testing.T, what string, s service) {
	t.Helper()
	var secrets []string
	env := []string{"ENVIRONMENT=production"}
	for key, value := range s.Environment {
		value = interpolate(value)
		if key != "ENVIRONMENT" {
			env = append(env, key+"="+value)
		}
		if key == "KEY_ENCRYPTION_KEY" {
			t.Errorf("%s: %s cannot say that it is for local runs; let one be made in a volume", what, key)
		}
		password := false
		if u, err := url.Parse(value); err == nil && u.User != nil {
			_, password = u.User.Password()
		}
		if !password && !strings.HasSuffix(key, "_SECRET") && !strings.HasSuffix(key, "_PASSWORD") {
			continue
		}
		secrets = append(secrets, key)
		if !strings.Contains(value, "local-only") {
			t.Errorf("%s: %s has no %q in it: nobody sees that it is public", what, key, "local-only")
		}
		if strings.HasSuffix(key, "_SECRET") && len(value) < 32 {
			t.Errorf("%s: %s is shorter than 32 characters", what, key)
		}
	}
	cmd := exec.CommandContext(t.Context(), program(t), s.Command...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	for _, key := range secrets {
		if err == nil || !strings.Contains(string(out), key+": this is a secret for local runs") {
			t.Errorf("%s: in production the program does not refuse %s: %v\n%s", what, key, err, out)
		}
	}
}

func TestServicesWaitForWhatTheyNeed(t *testing.T) {
	t.Parallel()
	for _, s := range setups {
		services := load(t, s)
		for name, service := range services {
			for other, d := range service.DependsOn {
				_, there := services[other]
				checked := services[other].Healthcheck.Test != nil
				if !there || d.Condition == "service_healthy" && !checked {
					t.Errorf("%s: %s waits for %s to be %s, which never comes", s.name, name, other, d.Condition)
				}
			}
			if service.ours() && slices.Contains(service.Command, "serve") {
				if want := []string{"CMD", "/groundwork", "healthcheck"}; !slices.Equal(service.Healthcheck.Test, want) {
					t.Errorf("%s: the health check of %s is %s; the image has only %s", s.name, name, service.Healthcheck.Test, want)
				}
				for _, first := range []string{"migrate", "operator"} {
					if _, there := services[first]; there && service.DependsOn[first].Condition != "service_completed_successfully" {
						t.Errorf("%s: %s does not wait for %s", s.name, name, first)
					}
				}
			}
			for _, volume := range service.Volumes {
				if source, _, _ := strings.Cut(volume, ":"); strings.HasPrefix(source, ".") {
					if _, err := os.Stat(filepath.Join(root, source)); err != nil {
						t.Errorf("%s: %s mounts what is not there: %v", s.name, name, err)
					}
				}
			}
			if service.Build.Dockerfile != "" {
				read(t, service.Build.Dockerfile)
			}
		}
	}
}

// TestTheImageIsBuiltFromWhatItNeeds compares .dockerignore with what the program is made of.
func TestTheImageIsBuiltFromWhatItNeeds(t *testing.T) {
	t.Parallel()
	lines := strings.Split(read(t, ".dockerignore"), "\n")
	if !slices.Contains(lines, "*") {
		t.Error(".dockerignore does not begin with nothing")
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.Dir}}{{end}}{{end}}", "./services")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	needed := map[string]bool{"go.mod": true, "go.sum": true}
	for dir := range strings.Lines(string(out)) {
		path, err := filepath.Rel(base, strings.TrimSpace(dir))
		if err != nil {
			t.Fatal(err)
		}
		folder, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		needed[folder] = true
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		if !slices.Contains(lines, "!"+name) {
			t.Errorf(".dockerignore keeps %s out, and the program is built from it", name)
		}
	}
}

// TestTheComposeClientReadsTheFiles asks the real thing, where there is one. Debian has no package of it; CI at GitHub has it.
func TestTheComposeClientReadsTheFiles(t *testing.T) {
	t.Parallel()
	if err := exec.CommandContext(t.Context(), "docker", "compose", "version").Run(); err != nil {
		t.Skip("there is no docker compose here: its files are read as YAML only")
	}
	for _, s := range setups {
		var files []string
		for _, file := range s.files {
			files = append(files, "-f", file)
		}
		cmd := exec.CommandContext(t.Context(), "docker", append(append([]string{"compose"}, files...), "--profile", "*", "config", "--services")...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", s.name, err, out)
			continue
		}
		got := strings.Fields(string(out))
		slices.Sort(got)
		if want := slices.Sorted(maps.Keys(load(t, s))); !slices.Equal(got, want) {
			t.Errorf("%s: docker compose runs %s, these tests look at %s", s.name, got, want)
		}
	}
}

// load reads a setup as compose does, as far as our files go: later files win, maps are merged, !reset takes a key away.
func load(t *testing.T, s setup) map[string]service {
	t.Helper()
	merged := map[string]any{}
	for _, file := range s.files {
		var document yaml.Node
		if err := yaml.Unmarshal([]byte(read(t, file)), &document); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		plain := map[string]any{}
		marked := resets(&document)
		if err := document.Decode(&plain); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		merge(merged, plain)
		for _, name := range marked {
			delete(merged["services"].(map[string]any), name)
		}
	}
	text, err := yaml.Marshal(merged["services"])
	services := map[string]service{}
	if err == nil {
		err = yaml.Unmarshal(text, &services)
	}
	if err != nil || len(services) == 0 {
		t.Fatalf("%s: %d services, %v", s.name, len(services), err)
	}
	return services
}

// resets returns the keys whose value is marked !reset, and takes the mark off.
func resets(n *yaml.Node) []string {
	var keys []string
	for i, child := range n.Content {
		if child.Tag == "!reset" {
			child.Tag = "!!null"
			keys = append(keys, n.Content[i-1].Value)
		}
		keys = append(keys, resets(child)...)
	}
	return keys
}

func merge(into, from map[string]any) {
	for key, value := range from {
		old, isMap := into[key].(map[string]any)
		update, both := value.(map[string]any)
		if isMap && both {
			merge(old, update)
		} else {
			into[key] = value
		}
	}
}

var variable = regexp.MustCompile(`\$\{[A-Z_]+:(?:-([^}]*)|\+[^}]*)\}`)

// interpolate gives every variable its default, which is nothing for what is there only when a variable is (:+).
func interpolate(value string) string { return variable.ReplaceAllString(value, "$1") }

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// find returns what the first group of a pattern matches in a file.
func find(t *testing.T, path, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(read(t, path))
	if m == nil {
		t.Fatalf("%s has nothing like %s", path, pattern)
	}
	return m[1]
}

func modules(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "services/*/module.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no modules: %v", err)
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(filepath.Dir(file)))
	}
	return names
}

// settings are the names that groundwork config prints.
func settings(t *testing.T) map[string]bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t), "config").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)`").FindAllStringSubmatch(string(out), -1) {
		names[m[1]] = true
	}
	if len(names) == 0 {
		t.Fatalf("groundwork config prints no settings:\n%s", out)
	}
	return names
}

// TestMain exists for the program's folder: it outlives the test that built it.
func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

var built string

var build = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "groundwork-check-")
	if err != nil {
		return "", err
	}
	built = folder
	cmd := exec.Command("go", "build", "-o", filepath.Join(folder, "groundwork"), "./services")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Join(folder, "groundwork"), nil
})

// program is the program, built once for all tests.
func program(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
