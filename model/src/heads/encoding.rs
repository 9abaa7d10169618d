//! An encoder's states, and the logits of as many of pre-training's heads as a model has.

use engine::{Graph, Plan, Precision, Tensor};

use super::{Capacity, Recording};
use crate::albert::Albert;
use crate::encoder::Mode;

impl Albert {
    /// The plan of an encoder without labels. Inputs: those of every plan, `first_rows` and `masked_rows`. Outputs:
    /// `hidden_states.0 …`, `last_hidden_state`, and as far as the model has the heads and `logits` asks for them
    /// `pooler_output` (always), `prediction_logits` of `masked_rows`, `sop_logits`.
    pub fn encoding_plan(&self, capacity: Capacity, logits: bool, precision: Precision) -> Plan {
        let graph = Graph::new(self.parameters().clone());
        let batch = self.packed(&graph, capacity.tokens, capacity.sequences);
        let on = Recording { albert: self, graph: &graph, batch, mode: Mode::Prediction };
        let (rows, first_rows) =
            (on.masked_rows(graph.axis("masked tokens", capacity.masked)), on.first_rows());
        let states = self.encode(&graph, batch, on.mode);
        let last = states[states.len() - 1];
        let mut outputs: Vec<(String, Tensor<'_>)> = states
            .iter()
            .enumerate()
            .map(|(index, &state)| (format!("hidden_states.{index}"), state))
            .collect();
        outputs.push(("last_hidden_state".into(), last));
        if self.on_top.pooler.is_some() {
            let pooled = self.pooled(&graph, last, first_rows);
            outputs.push(("pooler_output".into(), pooled));
            if logits && self.on_top.sentence_order.is_some() {
                outputs.push(("sop_logits".into(), self.sentence_order_logits(&graph, pooled)));
            }
        }
        if logits && self.on_top.masked_words.is_some() {
            outputs.push(("prediction_logits".into(), self.masked_lm_logits(&graph, last.gather(rows))));
        }
        let outputs: Vec<_> = outputs.iter().map(|(name, tensor)| (name.as_str(), *tensor)).collect();
        Plan::inference(&graph, &outputs, precision)
    }
}
