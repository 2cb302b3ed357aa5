//go:build !edge

package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/wirespan/wirespan/bench"
)

// writeReport writes a report to standard output and, if page is not empty, as
// HTML into that file.
func (c *cli) writeReport(r *bench.Report, format, page string) error {
	if page != "" {
		if err := writePage(r, page); err != nil {
			return err
		}
	}
	switch format {
	case outputTable:
		return r.WriteTable(c.out)
	case outputJSON:
		return bench.Encode(c.out, r)
	}
	return writeData(c.out, format, r)
}

func writePage(r *bench.Report, name string) error {
	var b bytes.Buffer
	if err := bench.WriteHTML(&b, r); err != nil {
		return fmt.Errorf("HTML report: %w", err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o666); err != nil {
		return fmt.Errorf("HTML report: %w", err)
	}
	return nil
}
