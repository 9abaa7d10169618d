//! Traffic of each kernel against what its operands fill, on shapes of several tiles with a ragged last one.

use emulated_gpu::performance::Launched;
use emulated_gpu::process::same_under;
use emulated_gpu::setup;
use kernels::{Cuda, Store};

use crate::{calls, counting};

/// What no kernel may do: bank conflicts, spills.
fn check(launches: &[Launched]) {
    assert!(!launches.is_empty());
    for launched in launches {
        launched.assert_resources(128);
        launched.assert_no_bank_conflicts();
    }
}

/// The launch of the kernel of this name.
fn launch<'a>(launches: &'a [Launched], kernel: &str) -> &'a Launched {
    let names = || launches.iter().map(|it| &it.kernel).collect::<Vec<_>>();
    launches.iter().find(|it| it.kernel == kernel).unwrap_or_else(|| panic!("no {kernel} in {:?}", names()))
}

/// The embedding's and the head's are 128 wide and have no residual: the statistics of a row are 8 bytes beside 256.
#[test]
fn layer_norm_moves_its_operands_once() {
    counting("counters::layer_norm_moves_its_operands_once", |cuda| {
        for (rows, width, residual) in
            [(203, 768, true), (101, 1024, true), (203, 128, true), (203, 128, false), (37, 4096, true)]
        {
            let (matrix, row, statistics) = (2 * rows * width, 4 * width, 8 * rows);
            let matrices = if residual { 2 } else { 1 };
            let forward = calls::layer_norm_forward(cuda, rows, width, residual);
            check(&forward);
            let it = launch(&forward, "layer_norm_forward_bf16");
            it.assert_distinct_bytes(
                [matrices * matrix + 2 * row, matrices * matrix + statistics].map(|bytes| bytes as u64),
            );
            it.assert_sectors(1.05);
            let backward = calls::layer_norm_backward(cuda, rows, width);
            check(&backward);
            let it = launch(&backward, "layer_norm_backward_bf16");
            let partials = 2 * row * it.blocks as usize;
            it.assert_distinct_bytes([(2 * matrix + statistics + row) as u64, (matrix + partials) as u64]);
            it.assert_sectors(1.05);
        }
    });
}

/// A number that all lanes read counts for each of them in [`Launched::assert_sectors`], and outweighs others: here is every sector
/// that rows of 128 take, 8 in bf16 and 16 in f32.
#[test]
fn rows_of_128_are_read_and_written_in_whole_sectors() {
    counting("counters::rows_of_128_are_read_and_written_in_whole_sectors", |cuda| {
        const ROWS: u64 = 256;
        const NARROW: u64 = 8;
        const WIDE: u64 = 16;
        let forward = calls::layer_norm_forward(cuda, ROWS as usize, 128, false);
        let [loads, stores, _] = launch(&forward, "layer_norm_forward_bf16").summary.global;
        // A warp reads gamma and beta once for its four rows, and stores their means, then their reciprocal deviations.
        let warps = ROWS / 4;
        assert_eq!(loads.sectors, ROWS * NARROW + warps * 2 * WIDE);
        assert_eq!(stores.sectors, ROWS * NARROW + warps * 2);
        let backward = calls::layer_norm_backward(cuda, ROWS as usize, 128);
        let it = launch(&backward, "layer_norm_backward_bf16");
        let [loads, stores, _] = it.summary.global;
        // A block reads gamma once; the two statistics of a row are scalars, not what takes the time.
        let statistics = 2 * ROWS;
        assert_eq!(loads.sectors, 2 * ROWS * NARROW + it.blocks * WIDE + statistics);
        assert_eq!(stores.sectors, ROWS * NARROW + it.blocks * 2 * WIDE);
        let embedding = calls::embedding_forward(cuda, ROWS as usize, 64, 1000);
        let [loads, stores, _] = embedding[0].summary.global;
        // A row of each table, and the three scalars that say which.
        assert_eq!((loads.sectors, stores.sectors), (ROWS * (3 * WIDE + 3), ROWS * NARROW));
        // One chunk of 64 rows, eight of which are of one token: each row's gradient, each token's, which is added to, and 64 numbers of
        // rows and of tokens, those wherever the rows are, and once more where the second half begins.
        let gradients = calls::embedding_backward(cuda, 64, 64, 1000);
        let [loads, stores, _] = launch(&gradients, "embedding_words_backward_bf16").summary.global;
        let (rows, tokens) = (64 * NARROW, 57 * WIDE);
        assert!((rows + tokens + 12..=rows + tokens + 26).contains(&loads.sectors), "{loads:?}");
        assert_eq!(stores.sectors, tokens);
        // Blocks for each row of a table: 64 ids, and the rows that are of it; its sum.
        let tables = gradients.iter().filter(|it| it.kernel == "embedding_table_backward_bf16");
        for (it, table_rows) in tables.zip([512, 2]) {
            let [loads, stores, _] = it.summary.global;
            assert_eq!((loads.sectors, stores.sectors), (table_rows * 8 + rows, table_rows * WIDE), "{it}");
        }
    });
}

/// The sums of the blocks are little beside 33 792 rows: gpu.md's 6 H bytes of a row.
#[test]
fn layer_norm_of_a_whole_batch_moves_six_bytes_a_column() {
    counting("counters::layer_norm_of_a_whole_batch_moves_six_bytes_a_column", |cuda| {
        let (rows, width, batch) = (1203, 768, 33_792);
        let backward = calls::layer_norm_backward(cuda, rows, width);
        let blocks = launch(&backward, "layer_norm_backward_bf16").blocks as usize;
        assert_eq!(blocks, 264, "more rows have no more blocks");
        let bytes = 3 * 2 * batch * width + 8 * batch + 2 * (2 * 4 * width * blocks);
        assert!(bytes as f64 <= 1.05 * (6 * batch * width) as f64, "{bytes}");
    });
}

#[test]
fn cross_entropy_reads_the_logits_once_and_overwrites_them_once() {
    counting("counters::cross_entropy_reads_the_logits_once_and_overwrites_them_once", |cuda| {
        for (rows, classes) in [(3, 30_000), (5, 1001)] {
            let logits = 2 * rows * classes;
            let forward = calls::cross_entropy_forward(cuda, rows, classes);
            check(&forward);
            let it = launch(&forward, "cross_entropy_forward_bf16");
            it.assert_distinct_bytes([(logits + 8 * rows) as u64, 12 * rows as u64]);
            let backward = calls::cross_entropy_backward(cuda, rows, classes);
            check(&backward);
            let it = launch(&backward, "cross_entropy_backward_bf16");
            it.assert_distinct_bytes([(logits + 12 * rows + 4) as u64, logits as u64]);
            if classes.is_multiple_of(16) {
                it.assert_sectors(1.05);
            }
        }
    });
}

#[test]
fn gather_moves_the_rows_that_are_wanted() {
    counting("counters::gather_moves_the_rows_that_are_wanted", |cuda| {
        let (selected, apart, width) = (77, 7, 768);
        let row = 2 * width;
        let forward = calls::gather_forward(cuda, selected, apart, width);
        check(&forward);
        forward[0].assert_distinct_bytes([(selected * (row + 4)) as u64, (selected * row) as u64]);
        forward[0].assert_sectors(1.05);
        for (store, written) in [(Store::Assign, selected * apart), (Store::Add, selected)] {
            let backward = calls::gather_backward(cuda, selected, apart, width, store);
            check(&backward);
            let it = launch(&backward, "gather_backward_bf16");
            let old = if store == Store::Add { selected * row } else { 0 };
            it.assert_distinct_bytes([(selected * row + written * 8 + old) as u64, (written * row) as u64]);
            it.assert_sectors(1.05);
            // Each row's number is taken to its first and its last use: two scalars, wherever in the list they are.
            let uses = launch(&backward, "gather_uses_f32");
            let all = |it: &Launched| it.summary.global.iter().map(|traffic| traffic.sectors).sum::<u64>();
            assert_eq!(uses.summary.global[2].sectors, 2 * selected as u64);
            assert!(all(uses) as f64 <= 0.05 * all(it) as f64, "{uses} beside {it}");
        }
    });
}

/// 4 + 24 + 16 + 6 bytes a parameter: the norm, both moments, the parameters, what products read.
#[test]
fn the_optimizer_moves_fifty_bytes_a_parameter() {
    counting("counters::the_optimizer_moves_fifty_bytes_a_parameter", |cuda| {
        let parameters = 4 * 8192 + 1000;
        let launches = calls::update(cuda, parameters);
        check(&launches);
        let count = parameters as u64;
        for (kernel, read, written) in [
            ("gradient_norm_chunks_f32", 4, 0),
            ("optimizer_moments_f32", 16, 8),
            ("optimizer_apply_f32", 12, 4),
            ("prepare_weights_bf16", 4, 2),
        ] {
            let it = launch(&launches, kernel);
            it.assert_distinct_bytes([read * count + 64, written * count + 128]);
            // Each block stores a sum or two, alone in its sector.
            let [loads, stores, _] = it.summary.global;
            let most = |bytes: u64| (1.05 * bytes as f64 / 32.0) as u64 + it.blocks;
            assert!(loads.sectors <= most(loads.bytes) && stores.sectors <= most(stores.bytes), "{it}");
        }
    });
}

#[test]
fn gelu_and_embedding_waste_no_sectors() {
    counting("counters::gelu_and_embedding_waste_no_sectors", |cuda| {
        let gelu = calls::gelu_backward(cuda, 33, 3072);
        check(&gelu);
        gelu[0].assert_distinct_bytes([4 * 33 * 3072, 2 * 33 * 3072]);
        gelu[0].assert_sectors(1.05);
        let forward = calls::embedding_forward(cuda, 300, 128, 1000);
        // Parts of warps that begin at multiples of 8 ids, and elsewhere.
        for (rows, vocabulary) in [(700, 1000), (4100, 30_000)] {
            let backward = calls::embedding_backward(cuda, rows, 128, vocabulary);
            check(&backward);
            backward.iter().for_each(|it| it.assert_sectors(1.05));
        }
        check(&forward);
        forward[0].assert_sectors(1.05);
    });
}

/// Where cuBLASLt has it, GELU's derivative is part of a product, and a kernel's elsewhere.
#[test]
fn gelus_derivative_is_part_of_a_product() {
    let names = |cuda: &Cuda| {
        calls::preactivation_gradient(cuda, 40, 96, 24).into_iter().map(|it| it.kernel).collect::<Vec<_>>()
    };
    if setup::real() {
        return; // which does not count
    }
    let test = "counters::gelus_derivative_is_part_of_a_product";
    for (refused, kernels) in [("slow-first", &[][..]), ("no-auxiliary", &["activation_backward_bf16"])] {
        same_under(test, &[&[("EMULATED_GPU_BLAS", refused), ("KERNELS", &*kernels.join(" "))]], || {
            let wanted = std::env::var("KERNELS").expect("what this process was told");
            assert_eq!(names(&Cuda::new(0).expect("the emulated GPU")).join(" "), wanted);
            String::new()
        });
    }
}
