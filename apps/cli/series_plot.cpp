// Panels of 900 x 260, drawn with lines and a polygon.
#include "series_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace slim::cli {
namespace {

constexpr double kWidth = 900, kHeight = 260;
constexpr double kLeft = 80, kRight = 20, kTop = 34, kBottom = 30;

// Text between tags.
std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      default:
        result += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
  }
  return result;
}

// 1, 2 or 5 times a power of ten, so that some five steps fit.
double tick_of(double range) {
  const double rough = range / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

class Panel {
 public:
  // `values`: what is shown of the series; `top`: where the panel begins.
  Panel(std::span<const double> values, const Forecast& forecast, double top)
      : values_(values), forecast_(forecast), top_(top) {
    include(values);
    include(forecast.median);
    for (const std::vector<double>& quantile : forecast.quantiles) include(quantile);
    if (!(low_ < high_)) {
      low_ -= std::max(1.0, std::fabs(low_) / 2);
      high_ += std::max(1.0, std::fabs(high_) / 2);
    }
    const double margin = 0.05 * (high_ - low_);
    low_ -= margin;
    high_ += margin;
  }

  // `band`: indices of the lowest and the highest level, or none.
  std::string drawn(const std::string& name, std::span<const size_t> band) const {
    std::string out =
        fmt::format(R"(<text x="{}" y="{}" font-size="14" font-weight="bold">{}</text>)"
                    "\n",
                    kLeft, top_ + 20, escaped(name));
    out += axes();
    if (band.size() == 2) {
      out += band_between(forecast_.quantiles[band[0]], forecast_.quantiles[band[1]]);
    }
    out += line(values_, 0, "#404040");
    out += line(forecast_.median, values_.size(), "#0060c0");
    return out;
  }

 private:
  void include(std::span<const double> values) {
    for (const double value : values) {
      if (std::isnan(value)) continue;
      low_ = std::min(low_, value);
      high_ = std::max(high_, value);
    }
  }

  double x(size_t step) const {
    const size_t steps = values_.size() + forecast_.median.size();
    return kLeft + (kWidth - kLeft - kRight) * static_cast<double>(step) /
                       static_cast<double>(std::max<size_t>(1, steps - 1));
  }
  double y(double value) const {
    return top_ + kHeight - kBottom - (kHeight - kTop - kBottom) * (value - low_) / (high_ - low_);
  }

  std::string axes() const {
    std::string out;
    const double tick = tick_of(high_ - low_);
    for (double at = std::ceil(low_ / tick); at * tick <= high_; ++at) {
      out += fmt::format(R"(<line x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}" stroke="#e0e0e0"/>)"
                         R"(<text x="{}" y="{:.1f}" font-size="11" text-anchor="end">{:g}</text>)"
                         "\n",
                         kLeft, y(at * tick), kWidth - kRight, y(at * tick), kLeft - 6,
                         y(at * tick) + 4, at * tick);
    }
    const double now = x(values_.empty() ? 0 : values_.size() - 1);
    out += fmt::format(
        R"(<line x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}" stroke="#a0a0a0" stroke-dasharray="4 3"/>)"
        R"(<text x="{}" y="{}" font-size="11">-{} steps</text>)"
        R"(<text x="{}" y="{}" font-size="11" text-anchor="end">+{} steps</text>)"
        "\n",
        now, top_ + kTop, now, top_ + kHeight - kBottom, kLeft, top_ + kHeight - 10,
        values_.empty() ? 0 : values_.size() - 1, kWidth - kRight, top_ + kHeight - 10,
        forecast_.median.size());
    return out;
  }

  std::string band_between(std::span<const double> low, std::span<const double> high) const {
    std::string points;
    for (size_t i = 0; i < low.size(); ++i) {
      points += fmt::format("{:.1f},{:.1f} ", x(values_.size() + i), y(low[i]));
    }
    for (size_t i = high.size(); i-- > 0;) {
      points += fmt::format("{:.1f},{:.1f} ", x(values_.size() + i), y(high[i]));
    }
    return fmt::format(R"(<polygon points="{}" fill="#0060c0" fill-opacity="0.2"/>)"
                       "\n",
                       points);
  }

  // Broken where values are missing; one that stands alone is a dot.
  std::string line(std::span<const double> values, size_t first, const char* color) const {
    std::string out;
    std::string points;
    size_t count = 0;
    const auto flush = [&] {
      if (count > 0) {
        out += fmt::format(
            R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="1.5" stroke-linecap="round"/>)"
            "\n",
            count == 1 ? points + points : points, color);
      }
      points.clear();
      count = 0;
    };
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::isnan(values[i])) {
        flush();
        continue;
      }
      points += fmt::format("{:.1f},{:.1f} ", x(first + i), y(values[i]));
      ++count;
    }
    flush();
    return out;
  }

  std::span<const double> values_;
  const Forecast& forecast_;
  double top_;
  double low_ = std::numeric_limits<double>::infinity();
  double high_ = -std::numeric_limits<double>::infinity();
};

}  // namespace

std::string plot(const SeriesFile& file, const std::vector<Forecast>& forecasts,
                 const std::vector<double>& levels) {
  std::vector<size_t> band;
  if (levels.size() > 1) {
    const auto [low, high] = std::minmax_element(levels.begin(), levels.end());
    band = {static_cast<size_t>(low - levels.begin()), static_cast<size_t>(high - levels.begin())};
  }
  const double height = kHeight * static_cast<double>(forecasts.size());
  std::string out = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
      R"(font-family="sans-serif" fill="#202020">)"
      "\n"
      R"(<rect width="{0}" height="{1}" fill="#ffffff"/>)"
      "\n",
      kWidth, height);
  for (size_t i = 0; i < forecasts.size(); ++i) {
    // Four times as much as is foretold, at most what was looked at.
    const size_t shown = std::min({std::max<size_t>(64, 4 * forecasts[i].median.size()),
                                   static_cast<size_t>(forecasts[i].values)});
    const std::span<const double> values = std::span(file.series[i]).last(shown);
    out += Panel(values, forecasts[i], kHeight * static_cast<double>(i)).drawn(file.names[i], band);
  }
  return out + "</svg>\n";
}

}  // namespace slim::cli
