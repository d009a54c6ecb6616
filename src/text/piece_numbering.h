// The ids of encoder-decoder models whose sentencepiece file does not say them: Transformers' slow
// tokenizers number its pieces in four ways. All end a text with </s>; none begins one with <s>.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "text/piece_tokenizer.h"
#include "text/tokenizer_config.h"

namespace slim {

using TokenList = std::vector<std::pair<std::string, int32_t>>;

// T5, mT5: the pieces' places; then <extra_id_99> to <extra_id_0> (or as many as the config says),
// which take the white space around them.
void number_with_extra_ids(PieceModel& model, const TokenizerConfig& config);
// Pegasus: <pad>, </s>, two masks and <unk_2>, <unk_3> ... up to the offset, 103; then the pieces.
void number_after_offset(PieceModel& model, const TokenizerConfig& config);
// mBART, NLLB, after fairseq: <s>, <pad>, </s>, <unk>; the pieces from the fourth on, their places
// and one; the config's additional tokens, languages; <mask>.
void number_aligned(PieceModel& model, const TokenizerConfig& config);
// Marian, M2M100: by a vocabulary beside the pieces; what it has not got is unknown. Then the
// config's additional tokens, where the vocabulary lacks them; if there are none, those of M2M100's
// languages, `with_languages`. Throws Error{bad_file} with `place` if it has no <unk> or no </s>.
void number_by_vocabulary(PieceModel& model, const TokenizerConfig& config, const TokenList& list,
                          bool with_languages, const std::string& place);

}  // namespace slim
