//! Recordings, and the memory that they are given.

use super::*;

/// What waits for the device cannot be recorded: that is no failure, and the calls can still be made.
#[test]
fn what_cannot_be_recorded_is_no_failure() {
    alone("recordings::what_cannot_be_recorded_is_no_failure", |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        add_one(gpu, &mut x, 100);
        let recording = gpu.record(
            || {
                add_one(gpu, &mut x, 100);
                first(gpu, &x);
            },
            || false,
        );
        assert!(recording.is_none() && gpu.status().is_ok());
        assert!(gpu.record(|| add_one(gpu, &mut x, 100), || false).is_none(), "it is not tried again");
        add_one(gpu, &mut x, 100);
        assert_eq!((first(gpu, &x), gpu.status()), (2.0, Ok(())));
    });
}

/// A library that does not search while calls are recorded is asked again: it has refused nothing.
#[test]
fn a_product_that_is_first_met_in_a_recording_is_found_after_it() {
    let test = "recordings::a_product_that_is_first_met_in_a_recording_is_found_after_it";
    alone_under(test, &[("EMULATED_GPU_BLAS", "no-captured-searches")], |gpu| {
        let sums = Sums::new(gpu);
        let product = sums.product(40);
        let record = || gpu.record(|| assert!(gpu.product(&product)), || false);
        assert!(record().is_none());
        assert_eq!((gpu.refused_products(), gpu.status()), (vec![], Ok(())));
        let called = sums.compute(gpu, 40);
        let recording = record().expect("the algorithm is known by now");
        sums.compute(gpu, 30);
        gpu.replay(&recording);
        let mut bits = vec![0_u32; called.len()];
        gpu.download(&sums.result, 0, bytemuck::cast_slice_mut(&mut bits));
        assert_eq!((bits, gpu.status()), (called, Ok(())));
    });
}

/// What is recorded is done when it is repeated, and not before.
#[test]
fn recorded_calls_are_made_again() {
    alone("recordings::recorded_calls_are_made_again", |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        add_one(gpu, &mut x, 100);
        let recording = gpu.record(
            || {
                add_one(gpu, &mut x, 100);
                add_one(gpu, &mut x, 100);
            },
            || false,
        );
        let recording = recording.expect("a recording");
        assert_eq!(first(gpu, &x), 1.0);
        gpu.replay(&recording);
        gpu.replay(&recording);
        assert_eq!((first(gpu, &x), gpu.status()), (5.0, Ok(())));
    });
}

/// A graph that finds no room is tried again, for there may be some later, but not for ever.
#[test]
fn a_recording_without_room_is_told() {
    let no_graphs = [("EMULATED_GPU_GRAPHS", "0")];
    alone_under("recordings::a_recording_without_room_is_told", &no_graphs, |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        add_one(gpu, &mut x, 100);
        assert!(gpu.remarks().is_empty());
        let mut tries = 0;
        for _ in 0..20 {
            let recording = gpu.record(
                || {
                    tries += 1;
                    add_one(gpu, &mut x, 100);
                },
                || false,
            );
            assert!(recording.is_none());
        }
        assert_eq!((tries, first(gpu, &x), gpu.status()), (8, 1.0, Ok(())));
        let remarks = gpu.remarks();
        assert!(
            remarks[0].contains("cannot be recorded (") && remarks[0].contains("OUT_OF_MEMORY"),
            "{remarks:?}"
        );
    });
}

/// Earlier recordings go until the next one finds room.
#[test]
fn recordings_make_room_for_the_next() {
    let two = [("EMULATED_GPU_GRAPHS", "2")];
    alone_under("recordings::recordings_make_room_for_the_next", &two, |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        add_one(gpu, &mut x, 100);
        let (mut kept, mut asked) = (Vec::new(), 0);
        for _ in 0..5 {
            let recording = gpu.record(
                || add_one(gpu, &mut x, 100),
                || {
                    asked += 1;
                    let is_there = !kept.is_empty();
                    kept.drain(..1.min(kept.len()));
                    is_there
                },
            );
            kept.push(recording.expect("there is room for two"));
        }
        assert_eq!((kept.len(), asked), (2, 3));
        kept.iter().for_each(|recording| gpu.replay(recording));
        assert_eq!((first(gpu, &x), gpu.status()), (3.0, Ok(())));
        assert!(gpu.remarks().is_empty(), "nothing is slower than it could be");
    });
}

/// Half of what is to be left free, which is an eighth of a small GPU's memory.
#[test]
fn memory_is_short_before_it_is_gone() {
    let memory = [("EMULATED_GPU_MEMORY", "256")];
    alone_under("recordings::memory_is_short_before_it_is_gone", &memory, |gpu| {
        let (free, total) = gpu.free_memory().expect("it is asked");
        assert_eq!((total, headroom(total)), (256 << 20, 32 << 20));
        let _some = gpu.allocate(free - (17 << 20)).expect("memory");
        assert!(!gpu.is_short_of_memory());
        let _more = gpu.allocate(2 << 20).expect("memory");
        assert!(gpu.is_short_of_memory());
    });
}

#[test]
fn a_gpu_keeps_some_memory_free() {
    for (gib, kept) in [(80, 80 * 1024 / 50), (24, 512), (8, 512), (2, 256)] {
        assert_eq!(headroom(gib << 30) >> 20, kept, "of {gib} GiB");
    }
}
