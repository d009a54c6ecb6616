// Continuing times. Calendars are those of C++20's <chrono>: Gregorian, without leap seconds, in
// whatever zone the file means.
#include "series_times.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace slim::cli {
namespace {

using std::chrono::sys_days;
using std::chrono::year_month;
using std::chrono::year_month_day;
using std::chrono::year_month_day_last;

constexpr int64_t kDay = 86400;
constexpr int64_t kMost = int64_t{1} << 53;  // beyond are no times, and sums might overflow

// Which parts a time is written with.
struct Form {
  bool dated = false;  // else a number
  char middle = 0;     // between date and time of day; 0: no time of day
  bool seconds = false;
  bool zulu = false;
  bool operator==(const Form&) const = default;
};

struct Time {
  Form form;
  int64_t value = 0;  // of dates: seconds since 1970
};

// Takes digits off the front: so many, or nothing at all.
std::optional<int> take_digits(std::string_view& text, size_t count) {
  if (text.size() < count) return std::nullopt;
  int value = 0;
  const auto [stopped, error] = std::from_chars(text.data(), text.data() + count, value);
  if (error != std::errc() || stopped != text.data() + count || value < 0) return std::nullopt;
  text.remove_prefix(count);
  return value;
}

bool take(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<int64_t> date_of(std::string_view& text) {
  const auto year = take_digits(text, 4);
  if (!year || !take(text, '-')) return std::nullopt;
  const auto month = take_digits(text, 2);
  if (!month || !take(text, '-')) return std::nullopt;
  const auto day = take_digits(text, 2);
  if (!day) return std::nullopt;
  const year_month_day date{std::chrono::year(*year),
                            std::chrono::month(static_cast<unsigned>(*month)),
                            std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  return kDay * sys_days(date).time_since_epoch().count();
}

// "06:00" or "06:00:30", as seconds.
std::optional<int64_t> clock_of(std::string_view& text, Form& form) {
  const auto hour = take_digits(text, 2);
  if (!hour || *hour > 23 || !take(text, ':')) return std::nullopt;
  const auto minute = take_digits(text, 2);
  if (!minute || *minute > 59) return std::nullopt;
  form.seconds = take(text, ':');
  const auto second = form.seconds ? take_digits(text, 2) : std::optional(0);
  if (!second || *second > 59) return std::nullopt;
  return 3600 * *hour + 60 * *minute + *second;
}

std::optional<Time> time_of(std::string_view text) {
  Time time;
  const auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), time.value);
  if (error == std::errc() && stopped == text.data() + text.size()) {
    return std::abs(time.value) < kMost ? std::optional(time) : std::nullopt;
  }
  time.form.dated = true;
  const auto date = date_of(text);
  if (!date) return std::nullopt;
  time.value = *date;
  if (text.starts_with(' ') || text.starts_with('T')) {
    time.form.middle = text.front();
    text.remove_prefix(1);
    const auto clock = clock_of(text, time.form);
    if (!clock) return std::nullopt;
    time.value += *clock;
    time.form.zulu = take(text, 'Z');
  }
  return text.empty() ? std::optional(time) : std::nullopt;
}

int64_t day_of(int64_t value) { return (value >= 0 ? value : value - kDay + 1) / kDay; }

year_month_day calendar(int64_t value) { return sys_days(std::chrono::days(day_of(value))); }

std::string written(const Time& time) {
  if (!time.form.dated) return std::to_string(time.value);
  const year_month_day date = calendar(time.value);
  std::string text =
      fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
  if (time.form.middle == 0) return text;
  const int64_t clock = time.value - kDay * day_of(time.value);
  text += fmt::format("{}{:02}:{:02}", time.form.middle, clock / 3600, clock / 60 % 60);
  if (time.form.seconds) text += fmt::format(":{:02}", clock % 60);
  return text + (time.form.zulu ? "Z" : "");
}

int64_t month_of(int64_t value) {
  const year_month_day date = calendar(value);
  return 12 * static_cast<int64_t>(static_cast<int>(date.year())) +
         static_cast<unsigned>(date.month()) - 1;
}

// A day of a month (counted from year 0), or the last one where there is no such day.
int64_t day_in(int64_t month, unsigned day) {
  const year_month at = std::chrono::year(static_cast<int>(month / 12)) /
                        std::chrono::month(static_cast<unsigned>(month % 12) + 1);
  const year_month_day last = year_month_day(year_month_day_last(at / std::chrono::last));
  const std::chrono::day own = std::min(std::chrono::day(day), last.day());
  return kDay * sys_days(at / own).time_since_epoch().count();
}

bool is_regular(const std::vector<int64_t>& values) {
  const int64_t step = values[1] - values[0];
  if (step <= 0) return false;
  for (size_t i = 1; i < values.size(); ++i) {
    if (values[i] - values[i - 1] != step) return false;
  }
  return true;
}

// The months of times that lie on one day of the month; none of others.
struct Monthly {
  std::vector<int64_t> months;
  unsigned day = 0;
};

std::optional<Monthly> monthly(const std::vector<int64_t>& values) {
  Monthly found;
  bool last = true;
  for (const int64_t value : values) {
    found.months.push_back(month_of(value));
    const auto day = static_cast<unsigned>(calendar(value).day());
    found.day = std::max(found.day, day);
    last = last && day_in(found.months.back(), 31) == kDay * day_of(value);
  }
  if (last) found.day = 31;
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t clock = values[0] - kDay * day_of(values[0]);
    if (day_in(found.months[i], found.day) + clock != values[i]) return std::nullopt;
  }
  return is_regular(found.months) ? std::optional(found) : std::nullopt;
}

}  // namespace

std::optional<std::vector<std::string>> times_after(const std::vector<std::string>& times,
                                                    size_t count) {
  std::vector<int64_t> values;
  Form form;
  for (const std::string& text : times) {
    const auto time = time_of(text);
    if (!time || (!values.empty() && !(time->form == form))) return std::nullopt;
    form = time->form;
    values.push_back(time->value);
  }
  if (values.size() < 2) return std::nullopt;
  const auto by_months = form.dated ? monthly(values) : std::nullopt;
  if (!by_months && !is_regular(values)) return std::nullopt;
  const int64_t plain = values[1] - values[0];
  if (plain > kMost / static_cast<int64_t>(std::max<size_t>(count, 1))) return std::nullopt;
  std::vector<std::string> after;
  for (size_t i = 1; i <= count; ++i) {
    const auto steps = static_cast<int64_t>(i);
    Time time{form, values.back() + steps * plain};
    if (by_months) {
      const int64_t clock = values[0] - kDay * day_of(values[0]);
      const int64_t step = by_months->months[1] - by_months->months[0];
      time.value = day_in(by_months->months.back() + steps * step, by_months->day) + clock;
    }
    if (form.dated && (time.value < values.back() || month_of(time.value) >= 12 * 10000)) {
      return std::nullopt;  // beyond the years that have four digits
    }
    after.push_back(written(time));
  }
  return after;
}

}  // namespace slim::cli
