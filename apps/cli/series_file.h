// Series of numbers in files: CSV, a column a series or, where a column is called item_id, series
// below one another, or JSON (an array of numbers, of such arrays, or an object of them by name).
// Empty fields and null are missing values.
#pragma once

#include <string>
#include <vector>

#include "slim/slim.h"

namespace slim::cli {

struct SeriesFile {
  std::vector<std::string> names;  // of each series
  std::vector<Series> series;
  // Of series below one another: what the columns of names and times are called, and the times of
  // each series; empty where there are none.
  std::string item;
  std::string time;
  std::vector<std::vector<std::string>> times;
  std::string note;  // a sentence on columns that were passed over, or nothing
};

// Of a file or, for "-", of stdin. `columns`: of CSV or of an object, by name or, from 1 on, by
// number; none: all, but for CSV without those of times and of text; of series below one another
// one at most, none: target, y or value, or the only one of numbers. Throws Error{bad_file} for
// what cannot be read, naming row and column; Error{bad_request} for columns that are not there.
SeriesFile read_series(const std::string& path, const std::vector<std::string>& columns);

}  // namespace slim::cli
