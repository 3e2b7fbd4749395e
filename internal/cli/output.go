package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"go.yaml.in/yaml/v3"
)

// format is the value of --output.
type format string

func (f *format) String() string {
	if *f == "" {
		return "table"
	}
	return string(*f)
}

// Set implements pflag.Value.
func (f *format) Set(v string) error {
	if !slices.Contains([]string{"table", "json", "yaml", "id", string(formatXML)}, v) {
		return fmt.Errorf("allowed are table, json, yaml, id, and xml for vif")
	}
	*f = format(v)
	return nil
}

// Type implements pflag.Value.
func (f *format) Type() string { return "format" }

// formatXML is for commands that have a libvirt interface to print.
const formatXML format = "xml"

// output prints results in the form that was asked for.
type output struct{ format format }

// object is a resource as the API sends it.
type object = map[string]any

// column is one column of a table of objects.
type column struct {
	title string
	value func(object) string
}

// list prints objects. Columns are for tables; everything else shows what the API sent.
func (o *output) list(w io.Writer, all []object, columns []column) error {
	if o.format.String() != "table" {
		return o.data(w, all, all)
	}
	var titles []string
	var rows [][]string
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	for _, x := range all {
		var row []string
		for _, c := range columns {
			row = append(row, c.value(x))
		}
		rows = append(rows, row)
	}
	return grid(w, titles, rows)
}

// show prints one object, an attribute per line.
func (o *output) show(w io.Writer, x object) error {
	if o.format.String() != "table" {
		return o.data(w, x, []object{x})
	}
	var rows [][]string
	for k, v := range x {
		if !slices.Contains([]string{"tenant_id"}, k) {
			rows = append(rows, []string{k, text(v)})
		}
	}
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(rank(a[0]), rank(b[0])) })
	return grid(w, []string{"ATTRIBUTE", "VALUE"}, rows)
}

// rank puts id and name before the other attributes.
func rank(attribute string) string {
	if i := slices.Index([]string{"id", "name", "status"}, attribute); i >= 0 {
		return strconv.Itoa(i)
	}
	return attribute
}

// data prints v as JSON or YAML, or the ids of all.
func (o *output) data(w io.Writer, v any, all []object) error {
	ids := make([]string, len(all))
	for i, x := range all {
		ids[i] = text(x["id"])
	}
	return o.plain(w, v, ids)
}

// plain prints v as JSON or YAML, or the ids alone.
func (o *output) plain(w io.Writer, v any, ids []string) error {
	switch o.format {
	case formatXML:
		return usagef("xml is for `vif plug` and `vif show`")
	case "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		g, err := generic(v)
		if err != nil {
			return err
		}
		e := yaml.NewEncoder(w)
		e.SetIndent(2)
		if err = e.Encode(g); err != nil {
			return err
		}
		return e.Close()
	}
	for _, id := range ids {
		if _, err := fmt.Fprintln(w, id); err != nil {
			return err
		}
	}
	return nil
}

// generic turns v into what its JSON is made of, so that YAML has the same names.
func generic(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(data, &out)
}

// grid prints a table without lines and colours: columns are two blanks apart.
func grid(w io.Writer, titles []string, rows [][]string) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	cells := func(row []string) table.Row {
		var r table.Row
		for _, c := range row {
			r = append(r, printable(c))
		}
		return r
	}
	t.AppendHeader(cells(titles))
	for _, row := range rows {
		t.AppendRow(cells(row))
	}
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

// printable keeps what others chose (names, descriptions) from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// text is a JSON value for people.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		if v == "" {
			return "-"
		}
		return v
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		if len(v) == 0 {
			return "-"
		}
		var items []string
		for _, item := range v {
			items = append(items, text(item))
		}
		return strings.Join(items, "\n")
	case map[string]any:
		if len(v) == 0 {
			return "-"
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
