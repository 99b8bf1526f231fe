// Package internal holds only this test of what the packages below it import.
package internal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module     = "guillotina_groupcache/"
	groupcache = "github.com/groupcache/groupcache-go/v3"
	xxhash     = "github.com/cespare/xxhash/v2"
	unix       = "golang.org/x/sys/unix"
)

// layers are our packages, from top to bottom. Each may import the standard library, those of our packages that are
// listed with it, which must be below it, and the libraries that are listed with it.
var layers = []layer{
	{name: "main", ours: []string{"node"}},
	{name: "node", ours: []string{"bridge", "mesh", "cache", "store", "coherence", "transport"}},
	{name: "bridge", ours: []string{"cache", "coherence"}, libraries: []string{unix}},
	{name: "mesh", ours: []string{"coherence", "transport"}},
	{name: "cache", ours: []string{"store"}, libraries: []string{groupcache, xxhash}},
	{name: "store"},
	{name: "coherence"},
	{name: "transport", libraries: []string{unix}},
}

type layer struct {
	name            string
	ours, libraries []string
}

func (l layer) allows(imported string) bool {
	if path, found := strings.CutPrefix(imported, module); found {
		return slices.Contains(l.ours, strings.TrimPrefix(path, "internal/"))
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(l.libraries, func(library string) bool {
		return imported == library || strings.HasPrefix(imported, library+"/")
	})
}

func TestPackagesImportOnlyThoseBelowThem(t *testing.T) {
	packages := sources(t)
	for i, l := range layers {
		for _, name := range l.ours {
			if !slices.ContainsFunc(layers[i+1:], func(below layer) bool { return below.name == name }) {
				t.Errorf("the table lets %s import %s, which is not below it", l.name, name)
			}
		}
		if packages[l.name] == nil {
			t.Errorf("there is no package %s", l.name)
		}
		for _, f := range packages[l.name] {
			for path := range f.imports {
				if !l.allows(path) {
					t.Errorf("%s: package %s must not import %s", f.path, l.name, path)
				}
			}
		}
		delete(packages, l.name)
	}
	for name := range packages {
		t.Errorf("package %s is not in the table of layers", name)
	}
}

// Package coherence has no clock, socket, goroutine or random numbers of its own, so that a simulation can drive it. It
// may import only packages that give it none of these, and of package time only what measures.
func TestCoherenceIsPure(t *testing.T) {
	mayImport := []string{"cmp", "container/list", "encoding/binary", "errors", "fmt", "maps", "math", "slices", "strings",
		"sync/atomic", "time", "unsafe"}
	mayUseOfTime := []string{"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}
	for _, f := range sources(t)["coherence"] {
		for path, name := range f.imports {
			if !slices.Contains(mayImport, path) || name == "." {
				t.Errorf("%s: package coherence must not import %s as %s", f.path, path, name)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a go statement", f.position(n))
			case *ast.SelectorExpr:
				x, _ := n.X.(*ast.Ident)
				if x != nil && x.Name == f.imports["time"] && !slices.Contains(mayUseOfTime, n.Sel.Name) {
					t.Errorf("%s: time.%s", f.position(n), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// source is a file of a package, but not of its tests.
type source struct {
	path    string
	files   *token.FileSet
	syntax  *ast.File
	imports map[string]string // path: the name by which the file uses it
}

func (f source) position(n ast.Node) token.Position { return f.files.Position(n.Pos()) }

// sources returns the files of each of our packages by its path below internal, those of package main by "main".
func sources(t *testing.T) map[string][]source {
	packages := make(map[string][]source)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f := source{path: path, files: token.NewFileSet(), imports: make(map[string]string)}
		if f.syntax, err = parser.ParseFile(f.files, path, nil, parser.SkipObjectResolution); err != nil {
			return err
		}
		for _, spec := range f.syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports[imported] = imported[strings.LastIndex(imported, "/")+1:]
			if spec.Name != nil {
				f.imports[imported] = spec.Name.Name
			}
		}
		name := "main"
		if dir, _ := filepath.Rel("../internal", filepath.Dir(path)); dir != ".." {
			name = filepath.ToSlash(dir)
		}
		packages[name] = append(packages[name], f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) == 0 {
		t.Fatal("there are no packages: the test looks in the wrong folder")
	}
	return packages
}
