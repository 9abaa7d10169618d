//! What faults look like, on small kernels written in PTX.

use emulated_gpu::ptx::{Access, Fault, Launch, Module, Statistics, Trouble, run};

use super::support::{Arguments, Gpu, arguments};

/// Runs a kernel body with registers declared and `%rd1` a pointer to `out`; `threads` threads, one block.
fn run_body(body: &str, threads: u32, out: &[u32]) -> (Result<Statistics, Fault>, Vec<u32>) {
    let ptx = format!(
        ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 out)\n{{\n\
         .shared .align 16 .b8 buffer[256];\n.reg .pred %p<9>;\n.reg .b32 %r<20>;\n.reg .b64 %rd<9>;\n\
         ld.param.u64 %rd1, [out];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %laneid;\nmov.u32 %r3, %warpid;\n\
         mov.u32 %r4, buffer;\nshl.b32 %r5, %r1, 2;\nadd.u32 %r6, %r4, %r5;\n\
         mul.wide.u32 %rd2, %r1, 4;\nadd.u64 %rd2, %rd1, %rd2;\n{body}\nret;\n}}"
    );
    let mut gpu = Gpu::with(&ptx);
    let address = gpu.upload(out);
    let result = gpu.launch("k", [1, 1, 1], threads, 0, &arguments![address]);
    (result, gpu.download(address, out.len()))
}

fn fault(body: &str, threads: u32) -> Fault {
    run_body(body, threads, &[0; 64]).0.expect_err("this body has a fault")
}

#[track_caller]
fn assert_report(body: &str, threads: u32, parts: &[&str]) {
    let report = fault(body, threads).to_string();
    for part in parts {
        assert!(report.contains(part), "no `{part}` in: {report}");
    }
}

#[test]
fn a_report_names_kernel_block_warp_instruction_and_line() {
    let fault = fault("st.global.u32 [%rd2+128], %r1;", 64);
    assert_eq!(
        fault.to_string(),
        "kernel k, block (0, 0, 0), warp 1, `st.global.u32 [%rd2+128], %r1` [PTX line 19]: global store, lane 0: \
         4 bytes at 0x100000200 are outside every allocation: byte 256 of one of 256 bytes at 0x100000100"
    );
    assert!(matches!(*fault.trouble, Trouble::Global { access: Access::Store, lane: 0, .. }));
}

#[test]
fn memory_is_checked() {
    assert_report("ld.global.u32 %r7, [%rd1+2];", 1, &["misaligned global load of 4 bytes", "lane 0"]);
    assert_report(
        "st.shared.v2.u32 [%r6], {%r1, %r1};",
        2,
        &["misaligned shared store of 8 bytes", "lane 1"],
    );
    assert_report("st.shared.u32 [%r6+200], %r1;", 32, &["outside the 256 bytes", "lane 14"]);
    assert_report("ld.shared.u32 %r7, [%r6];", 1, &["uninitialised shared byte 0"]);
    assert_report("mov.u64 %rd3, 0; ld.u32 %r7, [%rd3+8];", 1, &["null pointer"]);
    let local = ".local .b32 stack; st.local.u16 [stack], 1; ld.local.u32 %r7, [stack];";
    assert_report(local, 1, &["uninitialised local byte 0"]);
    assert_report("mov.u32 %r7, 512; ld.local.u32 %r8, [%r7];", 1, &["local load", "outside"]);
}

#[test]
fn races_name_both_sides() {
    let parts = [
        "warp 1, `ld.shared.u32 %r7, [%r4]`",
        "race: shared byte 0 is read here, lane 0, and was written by warp 0",
        "by `st.shared.u32 [%r6], %r1`",
    ];
    assert_report("st.shared.u32 [%r6], %r1; bar.warp.sync -1; ld.shared.u32 %r7, [%r4];", 64, &parts);
    // A barrier of both warps orders them; one of the second warp alone does not.
    let ordered = "st.shared.u32 [%r6], %r1; bar.sync 3, 64; ld.shared.u32 %r7, [%r4];";
    run_body(ordered, 64, &[0]).0.unwrap();
    let alone = "st.shared.u32 [%r6], %r1; bar.warp.sync -1; add.u32 %r8, %r3, 1; bar.sync %r8, 32; ld.shared.u32 %r7, [%r4];";
    assert_report(alone, 64, &["race: shared byte 0"]);
}

#[test]
fn producers_and_consumers_meet_at_named_barriers() {
    // Warp 0 writes and arrives at barrier 1 without waiting; warp 1 waits there and reads.
    let body = "setp.eq.u32 %p1, %r3, 0;\n@!%p1 bra CONSUME;\nst.shared.u32 [%r6], %r1;\nbar.arrive 1, 64;\nret;\n\
                CONSUME:\nbar.sync 1, 64;\nld.shared.u32 %r7, [%r6+-128];\nst.global.u32 [%rd2], %r7;";
    let (result, out) = run_body(body, 64, &[0; 64]);
    result.unwrap();
    assert_eq!(out[32..], (0..32).collect::<Vec<u32>>());
}

#[test]
fn collectives_want_all_their_lanes() {
    let divergent =
        "setp.lt.u32 %p1, %r2, 16;\n@%p1 bra A;\nret;\nA: shfl.sync.bfly.b32 %r7, %r1, 16, 31, -1;";
    assert_report(divergent, 32, &["lane 0 reads lane 16, which takes no part"]);
    let skipped = "setp.lt.u32 %p1, %r2, 16;\n@%p1 shfl.sync.bfly.b32 %r7, %r1, 1, 31, -1;\nbar.sync 0;";
    assert_report(skipped, 32, &["lanes 0-15 wait here", "lanes 16-31 wait at `bar.sync 0`"]);
    assert_report(
        "shfl.sync.bfly.b32 %r7, %r1, 1, 31, 0xfffffffe;",
        32,
        &["lanes 0 are not in the mask 0xfffffffe"],
    );
    let aligned = "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r7,%r8},{%r1,%r1},{%r1},{%r1,%r1};";
    assert_report(aligned, 20, &["needs all 32 lanes, only 0-19 are there"]);
    // Halves of a warp with masks of their own are fine, together or apart.
    let halves = "setp.lt.u32 %p1, %r2, 16;\nselp.b32 %r8, 0xffff, 0xffff0000, %p1;\n\
                  redux.sync.add.u32 %r7, %r2, %r8;\nst.global.u32 [%rd2], %r7;";
    let (result, out) = run_body(halves, 32, &[0; 32]);
    result.unwrap();
    assert_eq!((out[0], out[31]), (120, 376));
    // The first half may go on and set what a lane of the second half waits for.
    let depends = "setp.lt.u32 %p1, %r2, 16;\nselp.b32 %r8, 0xffff, 0xffff0000, %p1;\nsetp.ne.u32 %p2, %r2, 31;\n\
                   @%p2 bra MEET;\nSPIN: ld.volatile.global.u32 %r9, [%rd1];\nsetp.eq.u32 %p3, %r9, 0;\n@%p3 bra SPIN;\n\
                   MEET: redux.sync.add.u32 %r7, %r2, %r8;\nst.volatile.global.u32 [%rd2], %r7;";
    let (result, out) = run_body(depends, 32, &[0; 32]);
    result.unwrap();
    assert_eq!((out[0], out[31]), (120, 376));
}

#[test]
fn lanes_meet_again_at_a_warp_barrier_in_both_branches() {
    let body = "setp.lt.u32 %p1, %r2, 16;\n@%p1 bra LOW;\nbar.warp.sync -1;\nmov.u32 %r7, 1;\nbra END;\n\
                LOW: bar.warp.sync -1;\nmov.u32 %r7, 2;\nEND: st.global.u32 [%rd2], %r7;";
    let (result, out) = run_body(body, 32, &[0; 32]);
    result.unwrap();
    assert_eq!((out[15], out[16]), (2, 1));
}

#[test]
fn deadlocks_and_endless_loops_end() {
    let half = "setp.eq.u32 %p1, %r3, 0;\n@%p1 bar.sync 0;\n@!%p1 bar.sync 1;";
    let parts = ["deadlock", "warps 0 wait at barrier 0 for all threads", "warps 1 wait at barrier 1"];
    assert_report(half, 64, &parts);
    assert_report("bar.sync 1, 96;", 64, &["deadlock", "barrier 1 for 96 threads"]);
    assert_report("bar.sync 1, 40;", 64, &["no multiple of 32"]);
    assert_report("bar.sync 16;", 32, &["barrier 16: there are 16"]);
    assert_report("LOOP: bra LOOP;", 32, &["still running", "`bra LOOP`"]);
    // Lanes that spin for others of their own warp let them run, as they do since Volta.
    let spin = "setp.eq.u32 %p1, %r2, 0;\n@%p1 bra SPIN;\nst.volatile.global.u32 [%rd1], 1;\nret;\n\
                SPIN: ld.volatile.global.u32 %r7, [%rd1];\nsetp.eq.u32 %p2, %r7, 0;\n@%p2 bra SPIN;";
    assert_eq!(run_body(spin, 32, &[0]).1, [1]);
}

#[test]
fn copies_in_flight_are_watched() {
    let begin = "cp.async.ca.shared.global [%r6], [%rd2], 4;\ncp.async.commit_group;\n";
    let parts = ["shared byte 0 is touched", "in flight, begun by `cp.async.ca.shared.global"];
    assert_report(&format!("{begin}ld.shared.u32 %r7, [%r6];"), 32, &parts);
    assert_report(&format!("{begin}st.shared.u32 [%r6], 0;"), 32, &parts);
    let one_too_many = format!("{begin}cp.async.wait_group 1;\nld.shared.u32 %r7, [%r6];");
    assert_report(&one_too_many, 32, &parts);
    let values: Vec<u32> = (100..132).collect();
    let waited = format!(
        "{begin}cp.async.wait_group 0;\nld.shared.u32 %r7, [%r6];\nadd.u32 %r7, %r7, 1;\nst.global.u32 [%rd2], %r7;"
    );
    let (result, out) = run_body(&waited, 32, &values);
    result.unwrap();
    assert_eq!(out, (101..133).collect::<Vec<u32>>());
    assert_report(
        "cp.async.ca.shared.global [%r6], [%rd2+256], 4;",
        1,
        &["source of an asynchronous copy", "outside"],
    );
    assert_report("cp.async.ca.shared.global [%r6], [%rd2], 4, 8;", 1, &["copies 8 source bytes into 4"]);
    // Zero source bytes: zeros arrive and the source is not looked at.
    let zeros = "cp.async.ca.shared.global [%r6], [%rd2+4096], 4, 0;\ncp.async.wait_all;\nld.shared.u32 %r7, [%r6];\nst.global.u32 [%rd2], %r7;";
    assert_eq!(run_body(zeros, 1, &[9]).1, [0]);
}

#[test]
fn launches_are_checked() {
    let module = Module::parse(".entry k(.param .u64 a, .param .u32 b) .maxntid 64 { ret; }").unwrap();
    let mut memory = emulated_gpu::ptx::DeviceMemory::new(0);
    let kernel = module.kernel("k").unwrap();
    let good = Launch { parameters: &[0; 12], ..Launch::new(kernel) };
    run(&good, &mut memory).unwrap();
    for (launch, part) in [
        (Launch { parameters: &[0; 16], ..good.clone() }, "16 bytes of parameters, expected 12"),
        (Launch { block: [65, 1, 1], ..good.clone() }, "65 threads"),
        (Launch { block: [0, 1, 1], ..good.clone() }, "0 threads"),
        (Launch { grid: [1, 65536, 1], ..good.clone() }, "grid"),
        (Launch { dynamic_shared: 300_000, ..good.clone() }, "bytes of shared memory"),
    ] {
        let report = run(&launch, &mut memory).unwrap_err().to_string();
        assert!(report.contains(part), "{report}");
    }
    let _: Arguments = arguments![];
}
