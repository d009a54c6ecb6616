// Conversion: a model directory with the weights that a plan needs: where a layer runs k, its value
// weights are gone and the value map stands in their place, with spill and shaping beside it.
#include <set>

#include "attention/derived.h"
#include "engine/model_folder.h"
#include "engine/plan_file.h"
#include "engine/runtime.h"
#include "models/parallel.h"

namespace slim {
namespace {

void add(std::vector<NamedTensor>& tensors, const std::string& name, const Tensor& tensor) {
  if (!tensor.empty()) tensors.push_back({name, tensor});
}

void add_linear(std::vector<NamedTensor>& tensors, const std::string& name,
                const LinearWeights& linear) {
  add(tensors, name + ".weight", linear.weight);
  add(tensors, name + ".scale", linear.scale);
  add(tensors, name + ".bias", linear.bias);
}

void add_keys(std::vector<NamedTensor>& tensors, const std::string& name,
              const AttentionWeights& weights, const DerivedWeights& derived) {
  add_linear(tensors, name + ".q", weights.q);
  add_linear(tensors, name + ".k", weights.k);
  add(tensors, name + ".v.bias", weights.v.bias);
  add_linear(tensors, name + ".value_map", derived.value_map);
  add(tensors, name + ".spill.weight", derived.spill);
  add(tensors, name + ".spill_map.weight", derived.spill_map);
  add(tensors, name + ".shaping_u.weight", derived.shaping_u);
  add(tensors, name + ".shaping_g.weight", derived.shaping_g);
  add(tensors, name + ".shaping_order.weight", derived.shaping_order);
}

std::vector<NamedTensor> converted(const Checkpoint& checkpoint, const ModelWeights& weights,
                                   const std::vector<LayerPlan>& plan) {
  std::vector<NamedTensor> tensors;
  std::set<std::string> replaced;
  std::vector<DerivedWeights> derived(plan.size());
  in_parallel(plan.size(), [&](size_t i) {
    if (plan[i].kind != "k") return;
    derived[i] = derive_weights(weights.attention(plan[i].layer, plan[i].cross), plan[i].rows);
  });
  for (size_t i = 0; i < plan.size(); ++i) {
    const LayerPlan& layer = plan[i];
    if (layer.kind != "k") continue;
    const std::string name =
        "decoder.layers." + std::to_string(layer.layer) + (layer.cross ? ".cross" : ".self");
    for (const char* part : {".q.", ".k.", ".v.", ".qkv."}) {
      for (const char* what : {"weight", "bias", "scale"}) replaced.insert(name + part + what);
    }
    add_keys(tensors, name, weights.attention(layer.layer, layer.cross), derived[i]);
  }
  for (const std::string& name : checkpoint.names()) {
    if (!replaced.contains(name)) tensors.push_back({name, checkpoint.get(name)});
  }
  return tensors;
}

}  // namespace

Conversion convert(const std::string& model, const std::string& directory,
                   const EngineOptions& options) {
  const ModelFiles files = open_model(model);
  if (!files.checkpoint || files.checkpoint->format() != "safetensors" || files.converted) {
    throw Error(ErrorCode::bad_request,
                "Only a model directory in safetensors that has not been converted yet can be.",
                model);
  }
  EngineOptions usual = options;  // a plan is for every machine, whatever this one multiplies best
  if (usual.compute_type == "auto") usual.compute_type = "float32";
  const PlannedModel planned = plan_model(model, files, usual);
  ModelFolder folder(directory);
  folder.copy_from(files.directory);
  folder.write(kPlanFile, write_plan(planned.plan));
  Conversion result = folder.finish(*files.checkpoint,
                                    converted(*files.checkpoint, *planned.weights, planned.plan));
  result.layers = layer_reports(planned.plan);
  result.calibration = planned.calibration;
  return result;
}

}  // namespace slim
