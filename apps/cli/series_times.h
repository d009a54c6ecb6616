// Times of a series' rows, as a file writes them, and those that follow: numbers, dates, and dates
// with a time of day, at a step that is always the same. A step is of months where all rows are of
// one day of the month, or of its last one; else of seconds.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace slim::cli {

// The `count` times after these, in their form ("2024-01-31", "2024-01-31 06:00", "...T06:00:00Z",
// "17"); none if one of them has no such form, there are fewer than two, or the step is not regular
// or not forward.
std::optional<std::vector<std::string>> times_after(const std::vector<std::string>& times,
                                                    size_t count);

}  // namespace slim::cli
