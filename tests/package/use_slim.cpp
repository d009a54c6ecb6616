// Loads a model with the installed library: enough to need all that it links to.
#include <slim/slim.h>

#include <iostream>

int main(int, char** arguments) {
  slim::EngineOptions options;
  options.device = "reference";
  const slim::Engine engine(arguments[1], options);
  std::cout << "loaded\n";
}
