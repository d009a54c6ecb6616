// Reading of CSV and JSON. A CSV's separator is the comma, semicolon or tab of which its first row
// has most; its first row is a header if it has text where the column has numbers.
#include "series_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "output.h"

namespace slim::cli {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

using Row = std::vector<std::string>;

[[noreturn]] void refuse(const std::string& path, const std::string& text) {
  throw Error(ErrorCode::bad_file, text, path);
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return result;
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// Of a field without white space at its ends; none if it is text. NaN if it is missing.
std::optional<double> number_of(const std::string& field) {
  static constexpr std::array kNames = {"", "nan", "na", "n/a", "null", "none"};
  if (std::find(kNames.begin(), kNames.end(), lower(field)) != kNames.end()) return kMissing;
  const char* const begin = field.data() + (field.front() == '+' ? 1 : 0);
  const char* const end = field.data() + field.size();
  double value = 0;
  const auto [stopped, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || stopped != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

// Fields by RFC 4180; a quoted one may hold separators, quotes (two of them) and line ends.
class CsvReader {
 public:
  CsvReader(const std::string& path, const std::string& text) : path_(path), text_(text) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    const std::string first = text_.substr(at_, text_.find('\n', at_) - at_);
    for (const char candidate : {',', ';', '\t'}) {
      const auto times = std::count(first.begin(), first.end(), candidate);
      if (times > std::count(first.begin(), first.end(), separator_)) separator_ = candidate;
    }
  }

  std::vector<Row> rows() {
    std::vector<Row> all;
    while (at_ < text_.size()) all.push_back(row());
    while (!all.empty() && blank(all.back())) all.pop_back();
    // In a table an empty line is none; in a single column it is a missing value.
    const auto widest = std::max_element(
        all.begin(), all.end(), [](const Row& a, const Row& b) { return a.size() < b.size(); });
    if (widest != all.end() && widest->size() > 1) std::erase_if(all, blank);
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].size() == all.front().size()) continue;
      refuse(path_, fmt::format("Row {} has {} fields, and the first one {}.", i + 1, all[i].size(),
                                all.front().size()));
    }
    return all;
  }

 private:
  static bool blank(const Row& row) { return row.size() == 1 && row.front().empty(); }

  Row row() {
    Row fields;
    while (true) {
      fields.push_back(field());
      if (at_ >= text_.size()) return fields;
      if (text_[at_++] == '\n') return fields;
      if (at_ == text_.size()) {  // after a separator
        fields.emplace_back();
        return fields;
      }
    }
  }

  // Up to a separator or the end of the line.
  std::string field() {
    const size_t quote = text_.find_first_not_of(" \t", at_);
    if (separator_ != '\t' && quote != std::string::npos && text_[quote] == '"') {
      at_ = quote + 1;
      return quoted();
    }
    const size_t end =
        std::min(text_.find_first_of(std::string{separator_, '\n'}, at_), text_.size());
    const std::string result = trimmed(text_.substr(at_, end - at_));
    at_ = end;
    return result;
  }

  std::string quoted() {
    std::string result;
    while (true) {
      const size_t end = text_.find('"', at_);
      if (end == std::string::npos) refuse(path_, "A quoted field has no end.");
      result += text_.substr(at_, end - at_);
      at_ = end + 1;
      if (at_ >= text_.size() || text_[at_] != '"') break;
      result += '"';
      ++at_;
    }
    const size_t end =
        std::min(text_.find_first_of(std::string{separator_, '\n'}, at_), text_.size());
    if (!trimmed(text_.substr(at_, end - at_)).empty()) {
      refuse(path_, "Text follows the quoted field '" + result + "'.");
    }
    at_ = end;
    return result;
  }

  const std::string& path_;
  const std::string& text_;
  size_t at_ = 0;
  char separator_ = ',';
};

// A table whose columns are numbers, times or text.
class Table {
 public:
  Table(const std::string& path, std::vector<Row> rows) : path_(path), rows_(std::move(rows)) {
    if (rows_.empty()) refuse(path_, "There are no numbers in it.");
    const Row& first = rows_.front();
    header_ =
        rows_.size() == 1 ? std::none_of(first.begin(), first.end(), number_of) : has_header();
    for (size_t i = 0; i < first.size(); ++i) {
      const bool named = header_ && !first[i].empty();
      names_.push_back(named ? first[i] : "series " + std::to_string(i + 1));
    }
  }

  SeriesFile all() const {
    SeriesFile file;
    std::string passed;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (is_time(i)) {
        passed += (passed.empty() ? "" : ", ") + ("'" + names_[i] + "'");
        continue;
      }
      add(i, file);
    }
    if (file.series.empty()) refuse(path_, "No column of it has numbers.");
    if (!passed.empty()) {
      std::string used;
      for (const std::string& name : file.names) used += (used.empty() ? "'" : ", '") + name + "'";
      file.note =
          fmt::format("No series, because of times or text: {}. Forecast: {}.", passed, used);
    }
    return file;
  }

  // Whether a column says which series a row is of.
  bool is_long() const { return header_ && named(kItems); }

  SeriesFile by_items(const std::vector<std::string>& columns) const {
    const size_t item = *named(kItems);
    const auto time = named(kTimes);
    const size_t column = value_column(columns, item);
    SeriesFile file;
    file.item = names_[item];
    if (time) file.time = names_[*time];
    std::unordered_map<std::string_view, size_t> places;
    for (size_t row = first_row(); row < rows_.size(); ++row) {
      const std::string& name = field(row, item);
      if (name.empty()) {
        refuse(path_, fmt::format("Row {} has no '{}'.", row + 1, names_[item]));
      }
      const size_t place = places.try_emplace(name, places.size()).first->second;
      if (place == file.names.size()) {
        file.names.push_back(name);
        file.series.emplace_back();
        file.times.emplace_back();
      }
      file.series[place].push_back(value(row, column));
      if (time) file.times[place].push_back(field(row, *time));
    }
    if (file.series.empty()) refuse(path_, "There are no numbers in it.");
    std::vector<std::string> others;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (i != item && i != column && i != time) others.push_back(names_[i]);
    }
    if (!others.empty()) {
      file.note = fmt::format("Not looked at: '{}'. Forecast: '{}' of each '{}'.",
                              fmt::join(others, "', '"), names_[column], file.item);
    }
    return file;
  }

  SeriesFile some(const std::vector<std::string>& columns) const {
    SeriesFile file;
    for (const std::string& column : columns) add(index_of(column), file);
    return file;
  }

 private:
  static constexpr std::array kItems = {"item_id", "unique_id", "series_id"};
  static constexpr std::array kTimes = {"timestamp", "time", "date", "datetime", "ds", "index"};
  static constexpr std::array kValues = {"target", "y", "value"};

  // The first column that is called so.
  template <size_t N>
  std::optional<size_t> named(const std::array<const char*, N>& wanted) const {
    const auto found = std::find_if(names_.begin(), names_.end(), [&](const std::string& name) {
      return std::find(wanted.begin(), wanted.end(), lower(name)) != wanted.end();
    });
    if (found == names_.end()) return std::nullopt;
    return static_cast<size_t>(found - names_.begin());
  }

  // Of series below one another.
  size_t value_column(const std::vector<std::string>& columns, size_t item) const {
    if (columns.size() > 1) {
      throw Error(ErrorCode::bad_request,
                  "Of series below one another one column can be forecast, not several.", path_);
    }
    if (!columns.empty()) return index_of(columns.front());
    if (const auto usual = named(kValues)) return *usual;
    std::vector<size_t> numeric;
    std::vector<std::string> names;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (i == item || is_time(i)) continue;
      numeric.push_back(i);
      names.push_back(names_[i]);
    }
    if (numeric.size() == 1) return numeric.front();
    if (numeric.empty()) refuse(path_, "No column of it has numbers.");
    throw Error(ErrorCode::bad_request,
                fmt::format("Which of '{}' is to be forecast, --columns has to say.",
                            fmt::join(names, "', '")),
                path_);
  }

  size_t first_row() const { return header_ ? 1 : 0; }
  const std::string& field(size_t row, size_t column) const { return rows_[row][column]; }

  // Text stands over a number, or, where the first row is all text, over missing values alone.
  bool has_header() const {
    const Row& first = rows_.front();
    const bool all_text = std::none_of(first.begin(), first.end(), number_of);
    for (size_t i = 0; i < first.size(); ++i) {
      if (number_of(first[i])) continue;
      bool missing = all_text;
      for (size_t row = 1; row < rows_.size(); ++row) {
        const auto value = number_of(field(row, i));
        if (value && !std::isnan(*value)) return true;
        missing = missing && value;
      }
      if (missing) return true;
    }
    return false;
  }

  // By its name, or because no field of it is a number.
  bool is_time(size_t column) const {
    const std::string name = lower(names_[column]);
    if (header_ && std::find(kTimes.begin(), kTimes.end(), name) != kTimes.end()) return true;
    if (first_row() == rows_.size()) return true;
    for (size_t row = first_row(); row < rows_.size(); ++row) {
      if (number_of(field(row, column))) return false;
    }
    return true;
  }

  size_t index_of(const std::string& column) const {
    const auto named = std::find(names_.begin(), names_.end(), column);
    if (header_ && named != names_.end()) return static_cast<size_t>(named - names_.begin());
    size_t number = 0;
    const char* const end = column.data() + column.size();
    const auto [stopped, error] = std::from_chars(column.data(), end, number);
    if (error == std::errc() && stopped == end && number >= 1 && number <= names_.size()) {
      return number - 1;
    }
    throw Error(
        ErrorCode::bad_request,
        fmt::format("There is no column '{}' among '{}'.", column, fmt::join(names_, "', '")),
        path_);
  }

  double value(size_t row, size_t column) const {
    const auto found = number_of(field(row, column));
    if (found) return *found;
    refuse(path_, fmt::format("'{}' in row {} of the column '{}' is no number.", field(row, column),
                              row + 1, names_[column]));
  }

  void add(size_t column, SeriesFile& file) const {
    Series values;
    for (size_t row = first_row(); row < rows_.size(); ++row) values.push_back(value(row, column));
    file.names.push_back(names_[column]);
    file.series.push_back(std::move(values));
  }

  const std::string& path_;
  std::vector<Row> rows_;
  bool header_ = false;
  std::vector<std::string> names_;
};

// `name`: of the list.
Series numbers_of(const std::string& path, const std::string& name,
                  const nlohmann::ordered_json& list) {
  if (!list.is_array()) refuse(path, fmt::format("'{}' is no list of numbers.", name));
  Series values;
  for (const nlohmann::ordered_json& one : list) {
    if (!one.is_number() && !one.is_null()) {
      refuse(path, fmt::format("Element {} of '{}' is neither a number nor null.",
                               values.size() + 1, name));
    }
    values.push_back(one.is_null() ? kMissing : one.get<double>());
  }
  return values;
}

SeriesFile read_json(const std::string& path, const std::string& text,
                     const std::vector<std::string>& columns) {
  SeriesFile file;
  nlohmann::ordered_json all;
  try {
    all = nlohmann::ordered_json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    refuse(path, fmt::format("The JSON cannot be read: {}.", error.what()));
  }
  const auto add = [&](const std::string& name, const nlohmann::ordered_json& list) {
    file.names.push_back(name);
    file.series.push_back(numbers_of(path, name, list));
  };
  if (all.is_object()) {
    for (const auto& [name, list] : all.items()) {
      const bool wanted = std::find(columns.begin(), columns.end(), name) != columns.end();
      if (columns.empty() || wanted) add(name, list);
    }
    if (!columns.empty() && file.names.size() != columns.size()) {
      throw Error(ErrorCode::bad_request, "Not all of the columns are in it.", path);
    }
  } else if (!columns.empty()) {
    throw Error(ErrorCode::bad_request, "The series of this file have no names to choose by.",
                path);
  } else if (std::any_of(all.begin(), all.end(), [](const auto& one) { return one.is_array(); })) {
    for (const auto& list : all) add("series " + std::to_string(file.names.size() + 1), list);
  } else {
    add("series 1", all);
  }
  if (file.series.empty()) refuse(path, "There are no series in it.");
  return file;
}

}  // namespace

SeriesFile read_series(const std::string& path, const std::vector<std::string>& columns) {
  const std::string text = read_text(path);
  const std::string shown = path == "-" ? "standard input" : path;
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) refuse(shown, "There are no numbers in it.");
  if (text[first] == '[' || text[first] == '{') return read_json(shown, text, columns);
  const Table table(shown, CsvReader(shown, text).rows());
  if (table.is_long()) return table.by_items(columns);
  return columns.empty() ? table.all() : table.some(columns);
}

}  // namespace slim::cli
