// A picture of forecasts as SVG: for each series its latest values, the median of what follows, and
// the band between the outermost quantiles.
#pragma once

#include <string>
#include <vector>

#include "series_file.h"

namespace slim::cli {

// One panel a series, below each other. `levels`: those of the forecasts' quantiles.
std::string plot(const SeriesFile& file, const std::vector<Forecast>& forecasts,
                 const std::vector<double>& levels);

}  // namespace slim::cli
