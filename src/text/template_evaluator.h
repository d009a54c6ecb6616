// The evaluator of chat templates: runs statements in scopes and appends what they print.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "text/template_functions.h"
#include "text/template_syntax.h"

namespace slim {

class TemplateEvaluator {
 public:
  using Values = std::map<std::string, Value, std::less<>>;

  TemplateEvaluator(Values globals, TemplateRun& run);
  // The printed text of a whole template. Throws as TemplateRun and call_function do.
  std::string render(const std::vector<TemplateStatement>& body);

 private:
  enum class Flow { onward, leave_loop, next_round };
  struct Scope {
    Values values;
    Scope* outer;
  };
  struct Level;  // one level of recursion

  Flow execute(const std::vector<TemplateStatement>& body, Scope& scope, std::string& out);
  Flow execute(const TemplateStatement& statement, Scope& scope, std::string& out);
  Flow loop(const TemplateStatement& statement, Scope& scope, std::string& out);
  Value::List loop_items(const TemplateStatement& statement, Scope& scope);
  void bind(const TemplateStatement& statement, const Value& item, Scope& scope);
  void set(const TemplateStatement& statement, Scope& scope);
  Value evaluate(const TemplateExpression& expression, Scope& scope);
  Value lookup(const std::string& name, const Scope& scope) const;
  Value attribute(const Value& object, const std::string& name) const;
  Value index(const Value& object, const Value& key);
  Value slice(const TemplateExpression& expression, Scope& scope);
  Value binary(const std::string& sign, const Value& left, const Value& right);
  Value arithmetic(const std::string& sign, const Value& left, const Value& right);
  bool compare(const std::string& sign, const Value& left, const Value& right);
  Value call(const TemplateExpression& expression, Scope& scope);
  Value call_macro(const TemplateStatement& macro, const TemplateArguments& arguments);
  TemplateArguments arguments(const TemplateExpression& expression, Scope& scope);
  // A namespace may stand in a variable only: elsewhere it could come to hold itself.
  Value storable(Value value) const;

  TemplateRun& run_;
  Scope top_;
  int level_ = 0;
};

}  // namespace slim
