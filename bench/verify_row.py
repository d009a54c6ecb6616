"""One row of verify_table.sh: the JSON of `slim verify` on stdin, the choice as argument."""
import json
import sys

result = json.load(sys.stdin)
context = result["context_bytes"]
print(f"| {sys.argv[1]} | {result['kl_mean']:.1e} | {result['kl_max']:.1e} | {result['top1']:.3f} "
      f"| {context['slim'] / 1e6:.2f} MB, {context['ratio']:.2f}x below kv |")
