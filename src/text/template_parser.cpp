// The parser of chat templates' statements.
#include <algorithm>
#include <initializer_list>
#include <utility>

#include "slim/error.h"
#include "text/template_expression_parser.h"

namespace slim {
namespace {

constexpr size_t kMaximumSource = size_t{1} << 20;

class Parser : TemplateExpressionParser {
 public:
  explicit Parser(std::string_view source) : TemplateExpressionParser(source) {}

  std::vector<TemplateStatement> run() {
    std::vector<TemplateStatement> body = statements({});
    if (token().kind != Kind::end) fail("'" + tokens_[at_ + 1].text + "' where nothing is open");
    return body;
  }

 private:
  TemplateStatement statement_of(StatementKind kind) const {
    TemplateStatement statement;
    statement.kind = kind;
    statement.line = token().line;
    return statement;
  }
  void end_tag() {
    if (token().kind != Kind::statement_end) fail(shown() + " at the end of a statement");
    ++at_;
  }

  // Until the end or a tag that starts with one of `ends`, whose word is then the next but one.
  std::vector<TemplateStatement> statements(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    std::vector<TemplateStatement> body;
    while (token().kind != Kind::end) {
      if (token().kind == Kind::text) {
        body.push_back(statement_of(StatementKind::text));
        body.back().text = tokens_[at_++].text;
      } else if (token().kind == Kind::output_begin) {
        ++at_;
        body.push_back(statement_of(StatementKind::output));
        body.back().value = list_or_expression();
        if (token().kind != Kind::output_end) fail(shown() + " at the end of an expression");
        ++at_;
      } else {
        const std::string& next = tokens_[at_ + 1].text;
        if (std::find(ends.begin(), ends.end(), next) != ends.end()) return body;
        if (next.starts_with("end") || next == "else" || next == "elif") return body;
        ++at_;
        body.push_back(statement());
      }
    }
    return body;
  }

  // After a body: the word of the tag that ended it, which must be one of `ends`.
  std::string ending(std::initializer_list<std::string_view> ends) {
    if (token().kind == Kind::end) fail("no '" + std::string(*(ends.end() - 1)) + "'");
    ++at_;
    const std::string word = name();
    if (std::find(ends.begin(), ends.end(), word) == ends.end()) {
      --at_;
      fail("'" + word + "' where '" + std::string(*(ends.end() - 1)) + "' must stand");
    }
    return word;
  }
  void end_with(std::string_view end) {
    ending({end});
    end_tag();
  }

  TemplateStatement statement() {
    if (take_word("if")) return choice();
    if (take_word("for")) return loop();
    if (take_word("set")) return set();
    if (take_word("macro")) return macro();
    if (word("break") || word("continue")) {
      if (loops_ == 0) fail("'" + token().text + "' outside a loop");
      TemplateStatement jump =
          statement_of(word("break") ? StatementKind::break_loop : StatementKind::next_round);
      ++at_;
      end_tag();
      return jump;
    }
    if (take_word("generation")) {
      TemplateStatement body = statement_of(StatementKind::body);
      end_tag();
      body.body = statements({"endgeneration"});
      end_with("endgeneration");
      return body;
    }
    fail("the statement " + shown() + ", which is not supported");
  }

  // The branches as a chain: each else that is an elif is a choice of its own.
  TemplateStatement choice() {
    const Level level(*this);
    TemplateStatement choice = statement_of(StatementKind::choice);
    choice.value = list_or_expression();
    end_tag();
    choice.body = statements({"elif", "else", "endif"});
    const std::string end = ending({"elif", "else", "endif"});
    if (end == "elif") {
      choice.otherwise.push_back(this->choice());
      return choice;
    }
    end_tag();
    if (end == "else") {
      choice.otherwise = statements({"endif"});
      end_with("endif");
    }
    return choice;
  }

  std::vector<std::string> target_names() {
    std::vector<std::string> names;
    const bool bracket = take_sign("(");
    do names.push_back(name());
    while (take_sign(","));
    if (bracket) expect_sign(")");
    return names;
  }

  TemplateStatement loop() {
    TemplateStatement loop = statement_of(StatementKind::loop);
    loop.targets = target_names();
    if (!take_word("in")) fail(shown() + " where 'in' must stand");
    // The loop's own condition is not the expression's.
    loop.value = either();
    if (take_sign(",")) fail("a tuple without brackets");
    if (take_word("if")) loop.condition = expression();
    if (word("recursive")) fail("'recursive', which is not supported");
    end_tag();
    ++loops_;
    loop.body = statements({"else", "endfor"});
    --loops_;
    const bool otherwise = ending({"else", "endfor"}) == "else";
    end_tag();
    if (otherwise) {
      loop.otherwise = statements({"endfor"});
      end_with("endfor");
    }
    return loop;
  }

  TemplateStatement set() {
    TemplateStatement set = statement_of(StatementKind::set);
    set.targets = target_names();
    if (set.targets.size() == 1 && take_sign(".")) set.attribute = name();
    if (take_sign("=")) {
      set.value = list_or_expression();
      end_tag();
      return set;
    }
    if (sign("|")) fail("a filter on a block, which is not supported");
    if (set.targets.size() != 1) fail("no '=' after the names to set");
    end_tag();
    set.body = statements({"endset"});
    end_with("endset");
    return set;
  }

  TemplateStatement macro() {
    TemplateStatement macro = statement_of(StatementKind::macro);
    macro.text = name();
    expect_sign("(");
    while (!sign(")")) {
      macro.targets.push_back(name());
      if (take_sign("=")) {
        macro.defaults.push_back(expression());
      } else if (!macro.defaults.empty()) {
        fail("a parameter without a default after one with");
      }
      if (!take_sign(",")) break;
    }
    expect_sign(")");
    end_tag();
    const int loops = std::exchange(loops_, 0);
    macro.body = statements({"endmacro"});
    loops_ = loops;
    end_with("endmacro");
    return macro;
  }

  int loops_ = 0;  // that are open
};

}  // namespace

std::string template_place(int line) { return "chat template, line " + std::to_string(line); }

std::vector<TemplateStatement> parse_template(std::string_view source) {
  if (source.size() > kMaximumSource) {
    throw Error(ErrorCode::unsupported_model, "A chat template may have at most 1 MiB.",
                "chat template");
  }
  return Parser(source).run();
}

}  // namespace slim
