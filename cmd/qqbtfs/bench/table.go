package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// plainFile is the column of what no torrent program does.
	plainFile = "plain file"
	// mark stands at a figure whose measurement was ended by the time limit.
	mark = "*"
	none = "-"
)

// table collects figures: a row for each, a column for each contender.
type table struct {
	columns []string
	rows    []tableRow
}

type tableRow struct {
	scenario, label string
	cells           map[string]string // by column
}

func (t *table) addColumn(name string) {
	if !slices.Contains(t.columns, name) {
		t.columns = append(t.columns, name)
	}
}

// set enters a figure. Rows stay in the order of their first figure.
func (t *table) set(scenario, label, column, text string) {
	t.addColumn(column)
	for _, r := range t.rows {
		if r.scenario == scenario && r.label == label {
			r.cells[column] = text
			return
		}
	}
	t.rows = append(t.rows, tableRow{scenario, label, map[string]string{column: text}})
}

// text prints the table, aligned: what is measured on the left, figures on the right.
func (t *table) text() string {
	lines := [][]string{append([]string{"", ""}, t.columns...)}
	last := ""
	for _, r := range t.rows {
		line := []string{r.scenario, r.label}
		if r.scenario == last {
			line[0] = ""
		}
		last = r.scenario
		for _, c := range t.columns {
			cell := r.cells[c]
			if cell == "" {
				cell = none
			}
			line = append(line, cell)
		}
		lines = append(lines, line)
	}
	return align(lines)
}

// align pads cells to columns: the first two to the left, the others to the right.
func align(lines [][]string) string {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for _, line := range lines {
		var row strings.Builder
		for i, cell := range line {
			if i < 2 {
				fmt.Fprintf(&row, "%-*s  ", widths[i], cell)
			} else {
				fmt.Fprintf(&row, "%*s  ", widths[i], cell)
			}
		}
		out.WriteString(strings.TrimRight(row.String(), " "))
		out.WriteByte('\n')
	}
	return out.String()
}
