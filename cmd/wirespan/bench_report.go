package main

import (
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
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("HTML report: %w", err)
	}
	err = bench.WriteHTML(file, r)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("HTML report %s: %w", name, err)
	}
	return nil
}
