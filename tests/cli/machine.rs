//! bench and plan.

use train::exit::ExitCode;

use crate::program::run;

#[test]
fn a_step_is_timed() {
    let step = [
        "bench",
        "step",
        "--preset",
        "micro",
        "--seq",
        "16",
        "--batch",
        "3",
        "--steps",
        "2",
        "--threads",
        "1",
    ];
    let printed = run(&[&step[..], &["--json", "--profile", "--isa", "scalar"]].concat()).done();
    assert_eq!(printed.lines().count(), 1);
    let object: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let figure = |name: &str| object[name].as_f64().unwrap_or_else(|| panic!("{name} is not in {object}"));
    let seconds = figure("seconds_per_step");
    assert!(seconds > 0.0 && figure("peak_flops_per_second") > 0.0);
    let same =
        |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found}, {expected}");
    same(figure("sequences_per_second"), 3.0 / seconds);
    same(figure("model_flops_per_second"), figure("model_flops_per_step") / seconds);
    assert!(figure("executed_flops_per_step") > figure("model_flops_per_step"));
    for share in ["share_of_peak", "share_of_peak_while_computing", "disturbance"] {
        let share = &object[share];
        assert!(share.is_null() || (0.0..=1.0).contains(&share.as_f64().unwrap()), "{object}");
    }
    assert_eq!((figure("threads"), object["isa"].as_str()), (1.0, Some("scalar")));
    let profile: f64 =
        object["profile_milliseconds"].as_object().unwrap().values().map(|ms| ms.as_f64().unwrap()).sum();
    assert!(profile > 0.0);
    let shown = run(&[&step[..], &["--precision", "bf16"]].concat()).done();
    for part in
        ["micro, 3 sequences of 16 tokens", "bf16", "the median of 2", "sequences/s", "GFLOP/s measured"]
    {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
}

/// A share above 1 is none: the peak is that of what products multiply, so that there is one in each precision.
#[test]
fn a_step_has_a_share_of_the_peak_of_its_precision() {
    for precision in ["f32", "bf16"] {
        let size = ["--preset", "tiny", "--seq", "64", "--batch", "2", "--steps", "2", "--threads", "1"];
        let printed =
            run(&[&["bench", "step"][..], &size, &["--precision", precision, "--json"]].concat()).done();
        let object: serde_json::Value = serde_json::from_str(&printed).unwrap();
        let share = object["share_of_peak_while_computing"].as_f64();
        if cfg!(target_os = "linux") {
            assert!(share.is_some_and(|share| (0.01..=1.0).contains(&share)), "{precision}: {object}");
        }
    }
}

/// Of each kernel of the names that are asked for: its operations and bytes over its time, beside the limits that were measured.
#[test]
fn kernels_and_products_are_timed_beside_the_limits() {
    let sizes = ["--preset", "micro", "--seq", "8", "--tokens", "20", "--threads", "1"];
    for (what, word, names, limit) in [
        (
            "gemm",
            "qkv",
            &["qkv/forward 24 x 128 x 384", "qkv/input", "qkv/weights"][..],
            "peak_flops_per_second",
        ),
        ("kernels", "layer_norm", &["layer_norm_forward", "layer_norm_backward"], "peak_flops_per_second"),
        ("kernels", "columns", &["columns_copy"], "copy_bytes_per_second"),
    ] {
        let printed = run(&[&["bench", what, word, "--json"][..], &sizes].concat()).done();
        let object: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(object["tokens"], 24, "whole sequences");
        let kernels = object["kernels"].as_array().unwrap();
        assert_eq!(kernels.len(), names.len(), "{object}");
        for (kernel, name) in kernels.iter().zip(names) {
            assert!(kernel["name"].as_str().unwrap().starts_with(name), "{kernel}");
            let figure = |name: &str| kernel[name].as_f64().unwrap();
            let same = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{kernel}");
            same(figure("bytes_per_second"), figure("bytes") / figure("seconds"));
            let copy = object["copy_bytes_per_second"].as_f64().unwrap();
            same(figure("share_of_copy"), figure("bytes_per_second") / copy);
            let larger = figure("share_of_copy").max(figure("share_of_peak"));
            same(figure("share_of_roofline"), larger);
            assert!(larger > 0.0 && object[limit].as_f64().unwrap() > 0.0);
        }
    }
    let shown =
        run(&[&["bench", "kernels", "gather_forward"][..], &sizes, &["--precision", "bf16"]].concat()).done();
    for part in ["1 threads, bf16", "GB/s of copying", "of peak", "gather_forward"] {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    let nothing = run(&[&["bench", "gemm", "layer_norm"][..], &sizes].concat());
    assert!(nothing.err.contains("no kernel has layer_norm in its name"), "{}", nothing.err);
}

#[test]
fn a_plan_is_printed_without_a_device() {
    let printed =
        run(&["plan", "--preset", "micro", "--tokens", "256", "--seq", "64", "--vocab-size", "1000"]).done();
    insta::assert_snapshot!("plan-micro", printed);
    let json = |more: &[&str]| -> serde_json::Value {
        let arguments = ["plan", "--preset", "micro", "--tokens", "256", "--json"];
        serde_json::from_str(&run(&[&arguments[..], more].concat()).done()).unwrap()
    };
    let (kept, recomputed) = (json(&[]), json(&["--recompute", "layer"]));
    let activations = |plan: &serde_json::Value| plan["memory_bytes"]["activations"].as_u64().unwrap();
    assert!(activations(&recomputed) < activations(&kept));
    assert!(recomputed["executed_flops"].as_u64() > kept["executed_flops"].as_u64());
    assert_eq!(recomputed["model_flops"], kept["model_flops"]);
    let halved = json(&["--precision", "bf16"]);
    let copies = |plan: &serde_json::Value| plan["memory_bytes"]["copies_of_weights"].as_u64().unwrap();
    let parameters = kept["memory_bytes"]["parameters"].as_u64().unwrap();
    assert_eq!((copies(&kept), copies(&halved)), (0, parameters / 2));
    assert!((0.5..0.6).contains(&(activations(&halved) as f64 / activations(&kept) as f64)), "{halved}");
    let steps = run(&["plan", "--preset", "micro", "--tokens", "256", "--steps"]).done();
    assert_eq!(steps.lines().count() as u64, kept["kernel_calls"].as_u64().unwrap() + 1);
}

/// What a GPU needs beside the arena is counted, and how much would fit into one that need not be there.
#[test]
fn memory_of_a_gpu_is_planned_without_one() {
    let gpu = ["plan", "--preset", "base", "--tokens", "33792", "--device", "cuda", "--memory"];
    insta::assert_snapshot!("plan-gpu", run(&[&gpu[..], &["80GB"]].concat()).done());
    let json = |memory: &str| -> serde_json::Value {
        serde_json::from_str(&run(&[&gpu[..], &[memory, "--json"]].concat()).done()).unwrap()
    };
    let (small, large) = (json("8GiB"), json("80GB"));
    let all: u64 =
        small["memory_bytes"].as_object().unwrap().values().map(|size| size.as_u64().unwrap()).sum();
    assert!(all > 8 << 30, "{small}");
    assert_eq!(small["device_memory_bytes"], 8_u64 << 30);
    let most = |plan: &serde_json::Value| plan["most_tokens"].as_u64().unwrap();
    assert!(most(&small) < 33_792 && 33_792 < most(&large), "{} and {}", most(&small), most(&large));
    // So many fit, and a sequence more does not.
    for (tokens, fits) in [(most(&small), "it fits into"), (most(&small) + 128, "it does not fit into")] {
        let tokens = tokens.to_string();
        let plan =
            ["plan", "--preset", "base", "--tokens", &tokens, "--device", "cuda:1", "--memory", "8GiB"];
        let shown = run(&plan).done();
        assert!(shown.contains(fits) && shown.contains("bf16"), "{tokens}: {shown}");
    }
    run(&[&gpu[..], &["much"]].concat()).complains(ExitCode::Usage, &["--memory", "80GB or 24GiB"]);
}

#[test]
fn what_the_machine_does_not_have_is_refused() {
    let bench = |more: &[&str]| run(&[&["bench", "step"], more].concat());
    bench(&["--isa", "sse"]).complains(ExitCode::Usage, &["no instruction set `sse`", "avx2"]);
    bench(&["--precision", "f16"]).complains(ExitCode::Usage, &["f16", "bf16"]);
    bench(&["--preset", "bass"]).complains(ExitCode::Usage, &["no preset `bass`", "did you mean `base`?"]);
    bench(&["--seq", "513"])
        .complains(ExitCode::Usage, &["513 tokens are longer than the model's 512 positions"]);
}
