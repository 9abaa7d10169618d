//! Time that the processor gave, as against time that passed: what a busy machine cannot falsify.

use std::time::Instant;

/// Seconds that the calling thread has computed.
///
/// Where the system does not say, seconds that have passed.
pub fn thread_seconds() -> f64 {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes one timespec, and it is ours.
        if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } == 0 {
            return time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64;
        }
    }
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// What the threads of this process got of the machine's processors since each began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessorTime {
    /// Seconds computed, all threads together.
    pub computed: f64,
    /// Seconds in which a thread wanted to compute and other work had the processor.
    pub waited: f64,
}

impl ProcessorTime {
    /// The times until now, if the system tells (Linux does).
    pub fn now() -> Option<Self> {
        let mut sum = Self::default();
        for task in std::fs::read_dir("/proc/self/task").ok()? {
            // A thread that ends while it is looked at has no times.
            let Ok(text) = std::fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
            let mut nanoseconds = text.split_whitespace().map(|number| number.parse::<f64>().ok());
            sum.computed += 1e-9 * nanoseconds.next()??;
            sum.waited += 1e-9 * nanoseconds.next()??;
        }
        Some(sum)
    }

    /// The times since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self { computed: self.computed - earlier.computed, waited: self.waited - earlier.waited }
    }

    /// The share of the wanted time that other work took.
    pub fn disturbance(self) -> f64 {
        if self.waited > 0.0 { self.waited / (self.computed + self.waited) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_while_a_thread_computes_and_not_while_it_sleeps() {
        let start = thread_seconds();
        std::thread::sleep(std::time::Duration::from_millis(200));
        if cfg!(unix) {
            assert!(thread_seconds() - start < 0.1, "a sleeping thread computes nothing");
        }
        while thread_seconds() - start < 0.05 {
            std::hint::spin_loop();
        }
        if cfg!(target_os = "linux") {
            let times = ProcessorTime::now().expect("Linux tells");
            assert!(times.computed >= 0.05 && times.waited >= 0.0, "{times:?}");
        }
    }

    #[test]
    fn other_work_is_a_share() {
        let [earlier, later] =
            [(1.0, 2.0), (4.0, 3.0)].map(|(computed, waited)| ProcessorTime { computed, waited });
        assert_eq!(later.since(earlier).disturbance(), 0.25);
        assert_eq!(earlier.since(earlier).disturbance(), 0.0);
    }
}
