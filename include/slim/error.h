// The one exception type of Slim. Every failure a caller can meet is an Error: a code that maps to
// one exit status, one HTTP status and one Python exception; a sentence; and the place (a file, a
// field, an option) it is about. The library never prints, aborts, exits or reads the environment.
#pragma once

#include <exception>
#include <string>

namespace slim {

enum class ErrorCode {
  bad_request,        // the caller's options or input cannot be served
  unsupported_model,  // a well-formed model that no family, format or cache kind here can run
  bad_file,           // a file is missing, cut, malformed or hostile
  out_of_memory,      // an allocation failed; the object that threw stays usable
  device,             // an accelerator failed
  internal,           // a bug in Slim
};

class Error : public std::exception {
 public:
  // `text` is a whole sentence; `place` names the file, field or option ("" if there is none).
  Error(ErrorCode code, std::string text, std::string place = {});

  ErrorCode code() const noexcept { return code_; }
  const std::string& text() const noexcept { return text_; }
  const std::string& place() const noexcept { return place_; }
  // "place: text", or just the text.
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string text_;
  std::string place_;
  std::string message_;
};

}  // namespace slim
