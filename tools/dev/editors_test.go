package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The files for editors and dev containers are tried here as far as that goes without one: what they name is there.

func load(t *testing.T, name string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text(t, name)), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func text(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// target fails the test when make has no such target.
func target(t *testing.T, name string) {
	t.Helper()
	if !regexp.MustCompile(`(?m)^` + name + `:`).MatchString(text(t, "Makefile")) {
		t.Errorf("make has no target %q", name)
	}
}

func TestTheEditorFindsTheDebugger(t *testing.T) {
	t.Parallel()
	var launch struct {
		Configurations []struct {
			Name, Request, Mode, Host, PreLaunchTask string
			Port                                     int
		}
	}
	var tasks struct {
		Tasks []struct {
			Label, Command string
			Args           []string
			ProblemMatcher struct {
				Background struct{ BeginsPattern, EndsPattern string }
			}
		}
	}
	load(t, ".vscode/launch.json", &launch)
	load(t, ".vscode/tasks.json", &tasks)
	launcher := text(t, "deploy/local/everything.go") + text(t, "deploy/local/dev.go")
	labels := map[string]bool{}
	for _, task := range tasks.Tasks {
		labels[task.Label] = true
		if task.Command != "make" || len(task.Args) != 1 {
			t.Fatalf("the task %q runs %s %v", task.Label, task.Command, task.Args)
		}
		target(t, task.Args[0])
		background := task.ProblemMatcher.Background
		for _, pattern := range strings.Split(strings.ReplaceAll(background.BeginsPattern, "^local: ", "")+"|"+background.EndsPattern, "|") {
			if !strings.Contains(launcher, pattern) {
				t.Errorf("the task %q waits for %q, which the launcher does not say", task.Label, pattern)
			}
		}
	}
	attached := false
	for _, c := range launch.Configurations {
		if c.Request == "attach" {
			attached = c.Mode == "remote" && labels[c.PreLaunchTask] && c.Host == "127.0.0.1" && c.Port == 2345
		}
	}
	if !attached || !strings.Contains(launcher, `"127.0.0.1:2345"`) {
		t.Errorf("no configuration attaches to where make debug waits: %+v", launch)
	}
}

func TestTheDevContainer(t *testing.T) {
	t.Parallel()
	var container struct {
		Build             struct{ Dockerfile string }
		RemoteUser        string
		ContainerEnv      map[string]string
		PostCreateCommand string
		ForwardPorts      []int
	}
	load(t, ".devcontainer/devcontainer.json", &container)
	dockerfile := text(t, ".devcontainer/"+container.Build.Dockerfile)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(text(t, "go.mod"))
	if !strings.Contains(dockerfile, "FROM golang:"+version[1]+"-") {
		t.Errorf("the image has not the Go of go.mod, %s", version[1])
	}
	if !strings.Contains(dockerfile, "useradd") || !strings.HasSuffix(strings.TrimSpace(dockerfile), "USER "+container.RemoteUser) || container.RemoteUser == "root" {
		t.Errorf("the container's user %q is not the one that the image makes", container.RemoteUser)
	}
	if !strings.HasPrefix(container.ContainerEnv["LOCAL_DATA"], "/home/"+container.RemoteUser+"/") {
		t.Errorf("the data lie on the mount of the checkout, or where %s may not write: %v", container.RemoteUser, container.ContainerEnv)
	}
	for _, found := range regexp.MustCompile(`make (\w+)`).FindAllStringSubmatch(container.PostCreateCommand, -1) {
		target(t, found[1])
	}
	if !strings.Contains(container.PostCreateCommand, "make ") || len(container.ForwardPorts) == 0 {
		t.Errorf("nothing is warmed or forwarded: %+v", container)
	}
}
