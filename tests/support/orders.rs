//! Two programs that compute the same in f32, in other orders.

use model::AlbertConfig;

/// How far their outputs may be apart in relative norm. The sum of n products rounds like a random walk, to within √n of 2⁻²⁴;
/// a state goes through eight sums a layer (query and key, scores, values, output, two of the feed-forward, two norms) and three
/// more before and after, whose errors add up in the same way; both sides round, and four deviations are what never happens.
pub fn between_orders_of_summation(config: &AlbertConfig) -> f64 {
    let terms = config.hidden_size.max(config.intermediate_size);
    let sums = 8 * config.num_hidden_layers + 3;
    4.0 * 2f64.sqrt() * ((terms * sums) as f64).sqrt() * 2f64.powi(-24)
}
