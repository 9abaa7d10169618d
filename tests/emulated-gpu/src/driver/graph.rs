//! Graphs: work captured from streams, to be launched again and again.
//!
//! A captured operation depends on what its stream would have waited for: the stream's last operation and the events
//! it waited for since. Launched late, a graph runs in an order as far from the order of capture as these
//! dependencies allow, so that a missing one shows.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use super::border::{HostPointer, Out, driver_calls};
use super::device::{check_room, check_room_for_graph};
use super::error::{CudaError, Failure, Result};
use super::handles::Handle;
use super::operation::Operation;
use super::stream::Stream;
use super::{Driver, Schedule};

/// One captured operation.
#[derive(Clone)]
pub struct Node {
    /// What to do.
    pub operation: Operation,
    /// Nodes that must be done first; all come earlier in the graph.
    after: Vec<usize>,
}

/// Captured work: complete, or still being captured.
pub struct Graph {
    /// The device of the stream that the capture was begun on.
    pub device: usize,
    nodes: Vec<Node>,
    /// Some while work is being captured into the graph.
    capturing: Option<Capturing>,
}

struct Capturing {
    origin: Handle<Stream>,
    mode: u32,
    thread: ThreadId,
    /// Something that cannot be captured was tried; the capture can only be ended.
    invalid: bool,
}

/// A stream's part in a capture.
#[derive(Clone)]
pub struct Capture {
    /// The graph.
    pub graph: Handle<Graph>,
    /// What the stream's next operation depends on.
    frontier: Vec<usize>,
}

/// An event recorded during a capture.
pub type CapturedPoint = Capture;

/// The work of a graph that is ready to be launched; launches in flight keep their own hold on it.
pub type Nodes = Arc<Vec<Node>>;

/// A graph ready to be launched.
pub struct Executable {
    /// The device of the graph it was made of.
    pub device: usize,
    nodes: Nodes,
    /// Whether it is on the device.
    uploaded: bool,
}

impl Driver {
    /// Adds an operation of a stream to the graph it is captured into.
    pub fn capture_operation(&mut self, stream: Handle<Stream>, operation: Operation) -> Result {
        if let Operation::Free { .. } = operation {
            self.invalidate_capture(stream);
            return Err(Failure::not_emulated("freeing memory within a capture"));
        }
        let Some(capture) = &mut self.streams.get_mut(stream)?.capture else { return Ok(()) };
        let graph = self.graphs.get_mut(capture.graph)?;
        if graph.capturing.as_ref().is_some_and(|capturing| capturing.invalid) {
            return Err(invalidated());
        }
        let after = std::mem::replace(&mut capture.frontier, vec![graph.nodes.len()]);
        graph.nodes.push(Node { operation, after });
        Ok(())
    }

    /// Where a captured stream stands in its graph.
    pub fn captured_point(&self, stream: Handle<Stream>) -> Result<Option<CapturedPoint>> {
        Ok(self.streams.get(stream)?.capture.clone())
    }

    /// A stream waits for an event recorded in a capture: it takes part in the capture from now on.
    pub fn join_capture(&mut self, stream: Handle<Stream>, point: CapturedPoint) -> Result {
        if self.graphs.get(point.graph).map_or(true, |graph| graph.capturing.is_none()) {
            return Err(Failure::new(
                CudaError::CapturedEvent,
                "the event was recorded in a capture that has ended",
            ));
        }
        match &mut self.streams.get_mut(stream)?.capture {
            Some(capture) if capture.graph == point.graph => capture.frontier.extend(point.frontier),
            Some(_) => {
                self.invalidate_capture(stream);
                return Err(Failure::new(CudaError::StreamCaptureMerge, "a wait would merge two captures"));
            }
            capture @ None => *capture = Some(point),
        }
        Ok(())
    }

    /// Marks the capture that a stream takes part in as spoiled.
    pub fn invalidate_capture(&mut self, stream: Handle<Stream>) {
        if let Ok(Stream { capture: Some(capture), .. }) = self.streams.get(stream)
            && let Ok(Graph { capturing: Some(capturing), .. }) = self.graphs.get_mut(capture.graph)
        {
            capturing.invalid = true;
        }
    }

    /// Whether any stream is being captured.
    pub fn is_capturing(&self) -> bool {
        self.graphs.iter().any(|(_, graph)| graph.capturing.is_some())
    }

    /// Refuses, and spoils the capture, where `stream` is being captured: `what` asks for an answer that only work
    /// done could give.
    pub fn refuse_while_capturing(&mut self, stream: Handle<Stream>, what: &str) -> Result {
        if self.streams.get(stream)?.capture.is_none() {
            return Ok(());
        }
        self.invalidate_capture(stream);
        let reason = format!("{what} cannot be captured");
        Err(Failure::new(CudaError::StreamCaptureUnsupported, reason))
    }

    /// Refuses calls that touch all streams (synchronous copies, allocation …) while a capture forbids them: any in
    /// global mode, this thread's own in thread-local mode.
    pub fn refuse_unsafe_while_capturing(&mut self, what: &str) -> Result {
        const GLOBAL: u32 = 0;
        const THREAD_LOCAL: u32 = 1;
        let forbids = |capturing: &Capturing| match capturing.mode {
            GLOBAL => true,
            THREAD_LOCAL => capturing.thread == thread::current().id(),
            _ => false,
        };
        for graph in self.graphs.iter_mut() {
            if let Some(capturing) = &mut graph.capturing
                && forbids(capturing)
            {
                capturing.invalid = true;
                let reason = format!("{what} is forbidden while a stream is being captured");
                return Err(Failure::new(CudaError::StreamCaptureUnsupported, reason));
            }
        }
        Ok(())
    }

    /// Refuses what waits for all streams of a device while any of them is captured, in whatever mode and by whatever
    /// thread.
    pub fn refuse_while_capturing_anything(&mut self, device: usize, what: &str) -> Result {
        for graph in self.graphs.iter_mut().filter(|graph| graph.device == device) {
            if let Some(capturing) = &mut graph.capturing {
                capturing.invalid = true;
                let reason = format!("{what} is forbidden while a stream is being captured, in every mode");
                return Err(Failure::new(CudaError::StreamCaptureUnsupported, reason));
            }
        }
        Ok(())
    }

    /// Refuses work on the null stream, and spoils the capture, while a stream that waits for it is being captured.
    pub fn refuse_implicit_wait(&mut self, stream: Handle<Stream>) -> Result {
        if !self.is_null(stream) {
            return Ok(());
        }
        let device = self.streams.get(stream)?.device;
        let captured = |(_, it): &(Handle<Stream>, &Stream)| {
            it.device == device && it.waits_for_null_stream() && it.capture.is_some()
        };
        let Some(member) = self.streams.iter().find(captured).map(|(member, _)| member) else {
            return Ok(());
        };
        self.invalidate_capture(member);
        Err(Failure::new(
            CudaError::StreamCaptureImplicit,
            format!(
                "the null stream would wait for stream {member}, which is being captured: create it non-blocking"
            ),
        ))
    }

    fn begin_capture(&mut self, stream: Handle<Stream>, mode: u32) -> Result {
        const RELAXED: u32 = 2;
        self.usable()?;
        let stream = self.stream(stream)?;
        if self.is_null(stream) {
            return Err(Failure::new(
                CudaError::StreamCaptureUnsupported,
                "the null stream cannot be captured",
            ));
        }
        if mode > RELAXED {
            return Err(Failure::invalid(format!("capture mode {mode}")));
        }
        let Stream { device, ref capture, .. } = *self.streams.get(stream)?;
        if capture.is_some() {
            return Err(Failure::invalid("the stream is being captured already"));
        }
        let capturing = Capturing { origin: stream, mode, thread: thread::current().id(), invalid: false };
        let graph = self.graphs.insert(Graph { device, nodes: Vec::new(), capturing: Some(capturing) });
        self.streams.get_mut(stream)?.capture = Some(Capture { graph, frontier: Vec::new() });
        Ok(())
    }

    /// Moves a graph to its device, if it is not there.
    fn upload(&mut self, executable: Handle<Executable>) -> Result {
        let &Executable { device, uploaded, .. } = self.executables.get(executable)?;
        if uploaded {
            return Ok(());
        }
        let there = self.executables.iter().filter(|(_, other)| other.device == device && other.uploaded);
        check_room_for_graph(there.count())?;
        self.executables.get_mut(executable)?.uploaded = true;
        Ok(())
    }

    fn end_capture(&mut self, stream: Handle<Stream>) -> Result<Handle<Graph>> {
        let stream = self.stream(stream)?;
        let Some(Capture { graph, frontier }) = self.captured_point(stream)? else {
            return Err(Failure::invalid("the stream is not being captured"));
        };
        let Some(capturing) = &self.graphs.get(graph)?.capturing else {
            return Err(Failure::invalid("the capture has ended"));
        };
        let (invalid, origin) = (capturing.invalid, capturing.origin);
        if stream != origin {
            self.invalidate_capture(stream);
            return Err(Failure::new(
                CudaError::StreamCaptureUnmatched,
                "a capture is ended on the stream it was begun on",
            ));
        }
        let mut loose_ends = Vec::new();
        for handle in self.streams.all() {
            let member = self.streams.get_mut(handle)?;
            if let Some(capture) = member.capture.take_if(|capture| capture.graph == graph) {
                loose_ends.extend(capture.frontier);
            }
        }
        let complete = self.graphs.get_mut(graph)?;
        complete.capturing = None;
        let joined = complete.ancestors(&frontier);
        let refusal = if invalid {
            Some(invalidated())
        } else if loose_ends.iter().any(|&node| !joined[node]) {
            let reason =
                "work of another stream in the capture was not waited for by the stream it was begun on";
            Some(Failure::new(CudaError::StreamCaptureUnjoined, reason))
        } else {
            None
        };
        match refusal {
            None => Ok(graph),
            Some(refusal) => {
                self.graphs.remove(graph)?;
                Err(refusal)
            }
        }
    }
}

impl Graph {
    /// For each node, whether it is one of `frontier` or must be done before one of them.
    fn ancestors(&self, frontier: &[usize]) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        for &node in frontier {
            reached[node] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            if reached[index] {
                for &before in &self.nodes[index].after {
                    reached[before] = true;
                }
            }
        }
        reached
    }
}

/// An order to run the nodes in: as captured, or, late, always the ready node that was captured last.
pub fn order(nodes: &[Node], schedule: Schedule) -> Vec<usize> {
    if schedule == Schedule::Eager {
        return (0..nodes.len()).collect();
    }
    let mut missing: Vec<usize> = nodes.iter().map(|node| node.after.len()).collect();
    let mut followers = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for &before in &node.after {
            followers[before].push(index);
        }
    }
    let mut ready: BinaryHeap<usize> = (0..nodes.len()).filter(|&index| missing[index] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(index) = ready.pop() {
        order.push(index);
        for &follower in &followers[index] {
            missing[follower] -= 1;
            if missing[follower] == 0 {
                ready.push(follower);
            }
        }
    }
    order
}

fn invalidated() -> Failure {
    Failure::new(CudaError::StreamCaptureInvalidated, "the capture was spoiled by an earlier call")
}

driver_calls! {
    /// Starts to record a stream's work instead of doing it.
    fn cuStreamBeginCapture_v2(driver, stream: Handle<Stream>, mode: u32) {
        driver.begin_capture(stream, mode)
    }

    /// Ends a capture and gives the graph.
    fn cuStreamEndCapture(driver, stream: Handle<Stream>, graph: Out<Handle<Graph>>) {
        graph.set_if_wanted(Handle::NULL);
        graph.set(driver.end_capture(stream)?)
    }

    /// Whether a stream is being captured: 0 no, 1 yes, 2 yes but spoiled.
    fn cuStreamIsCapturing(driver, stream: Handle<Stream>, status: Out<u32>) {
        let stream = driver.stream(stream)?;
        let Some(capture) = driver.captured_point(stream)? else { return status.set(0) };
        let capturing = &driver.graphs.get(capture.graph)?.capturing;
        status.set(1 + u32::from(capturing.as_ref().is_some_and(|capturing| capturing.invalid)))
    }

    /// How many nodes a graph has; their handles are not emulated.
    fn cuGraphGetNodes(driver, graph: Handle<Graph>, nodes: HostPointer, count: Out<usize>) {
        if nodes.address() != 0 {
            return Err(Failure::not_emulated("handles of a graph's nodes"));
        }
        count.set(driver.graphs.get(graph)?.nodes.len())
    }

    /// Makes a graph ready to launch; the graph may be destroyed afterwards.
    fn cuGraphInstantiateWithFlags(driver, executable: Out<Handle<Executable>>, graph: Handle<Graph>, flags: u64) {
        const AUTO_FREE_ON_LAUNCH: u64 = 1;
        const UPLOAD: u64 = 2;
        const USE_NODE_PRIORITY: u64 = 8;
        driver.usable()?;
        if flags & !(AUTO_FREE_ON_LAUNCH | UPLOAD | USE_NODE_PRIORITY) != 0 {
            return Err(Failure::not_emulated(format!("instantiation flags {flags:#x}")));
        }
        let graph = driver.graphs.get(graph)?;
        if graph.capturing.is_some() {
            return Err(Failure::invalid("the graph is still being captured"));
        }
        check_room()?;
        let made = Executable { device: graph.device, nodes: Arc::new(graph.nodes.clone()), uploaded: false };
        executable.set(driver.executables.insert(made))
    }

    /// Puts all work of a graph on a stream, as one operation.
    fn cuGraphLaunch(driver, executable: Handle<Executable>, stream: Handle<Stream>) {
        driver.upload(executable)?;
        let nodes = driver.executables.get(executable)?.nodes.clone();
        driver.submit(stream, Operation::Graph(nodes))
    }

    /// Moves a graph to the device ahead of its first launch.
    fn cuGraphUpload(driver, executable: Handle<Executable>, stream: Handle<Stream>) {
        driver.usable()?;
        driver.stream(stream)?;
        driver.upload(executable)
    }

    /// Ends an executable graph; launches in flight go on.
    fn cuGraphExecDestroy(driver, executable: Handle<Executable>) {
        driver.executables.remove(executable).map(drop)
    }

    /// Ends a graph; executables made of it stay.
    fn cuGraphDestroy(driver, graph: Handle<Graph>) {
        driver.graphs.remove(graph).map(drop)
    }
}
