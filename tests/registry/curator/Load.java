/*
 * Load.java - thousands of workers in a few sessions, each of which writes its
 * heartbeat in its turn, spread evenly over the interval.
 *
 * The addresses are 10.0.0.0:1234, 10.0.0.1:1234 and so on. The plain client
 * is used, not Curator: ten thousand times a create and a set need no recipe.
 */
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

final class Load {
    private static final int SLICE_MS = 20;
    private static final long STARTED = 1732000000000L;

    private final String root;
    private final int workers;
    private final int every;
    private final List<ZooKeeper> handles = new ArrayList<>();
    private final ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor();
    private final AtomicInteger failed = new AtomicInteger();
    private long began;
    private long written;

    Load(String connect, String root, int workers, int sessions, int timeout, int every)
        throws Exception {
        this.root = root;
        this.workers = workers;
        this.every = every;
        CountDownLatch connected = new CountDownLatch(sessions);
        for (int i = 0; i < sessions; i++)
            handles.add(new ZooKeeper(connect, timeout, event -> {
                if (event.getState() == KeeperState.SyncConnected && event.getPath() == null)
                    connected.countDown();
            }));
        if (!connected.await(15, TimeUnit.SECONDS))
            throw new IllegalStateException("no connection to " + connect);
    }

    private String path(int worker) {
        return String.format("%s/10.%d.%d.%d:1234", root, worker >> 16, worker >> 8 & 255,
                             worker & 255);
    }

    private byte[] heartbeat(int worker, long now) {
        String address = path(worker).substring(root.length() + 1);
        return String
            .format("{\"processId\":%d,\"startupTime\":%d,\"reportTime\":%d,\"jvmCpuUsage\":0.03,"
                        + "\"cpuUsage\":0.%02d,\"jvmMemoryUsage\":0.4,\"memoryUsage\":0.52,"
                        + "\"diskUsage\":0.0,\"serverStatus\":\"NORMAL\",\"host\":\"%s\","
                        + "\"port\":1234,\"workerHostWeight\":100,\"threadPoolUsage\":0.25}",
                    1000 + worker, STARTED, now, (worker + now / every) % 80,
                    address.substring(0, address.indexOf(':')))
            .getBytes(StandardCharsets.UTF_8);
    }

    private ZooKeeper handle(int worker) {
        return handles.get(worker % handles.size());
    }

    /** All of them at once, then their heartbeats. Milliseconds it took. */
    long start() throws Exception {
        CountDownLatch done = new CountDownLatch(workers);
        long from = System.nanoTime();
        for (int i = 0; i < workers; i++)
            handle(i).create(path(i), heartbeat(i, System.currentTimeMillis()),
                             Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, (rc, p, ctx, name) -> {
                                 count(rc);
                                 done.countDown();
                             }, null);
        if (!done.await(60, TimeUnit.SECONDS) || failed.get() > 0)
            throw new IllegalStateException(failed + " of " + workers + " could not be made");
        began = System.nanoTime();
        clock.scheduleAtFixedRate(this::slice, SLICE_MS, SLICE_MS, TimeUnit.MILLISECONDS);
        return TimeUnit.NANOSECONDS.toMillis(began - from);
    }

    private void count(int rc) {
        if (rc != Code.OK.intValue())
            failed.incrementAndGet();
    }

    /** Those whose turn it is by now. */
    private void slice() {
        long now = System.currentTimeMillis();
        long due = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began) * workers / every;
        for (; written < due; written++) {
            int worker = (int) (written % workers);
            handle(worker).setData(path(worker), heartbeat(worker, now), -1,
                                   (rc, p, ctx, stat) -> count(rc), null);
        }
    }

    /** Ends the sessions; an error if one heartbeat was not written. */
    void close() throws Exception {
        clock.shutdownNow();
        clock.awaitTermination(5, TimeUnit.SECONDS);
        for (ZooKeeper zk : handles)
            zk.close();
        if (failed.get() > 0)
            throw new IllegalStateException(failed + " heartbeats failed");
    }
}
