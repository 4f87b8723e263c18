/*
 * Session.java - one process of DolphinScheduler as the registry sees it: a
 * CuratorFramework with what its ZookeeperRegistry does with one.
 *
 * Heartbeats are create().orSetData() in every version since 3.0: also over a
 * node that an earlier session left, which then vanishes with that session.
 */
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

@SuppressWarnings("deprecation") // TreeCache, which is what it uses
final class Session {
    /** A mutex and the thread that it belongs to. */
    private static final class Owner {
        final ExecutorService thread = Executors.newSingleThreadExecutor();
        final InterProcessMutex mutex;

        Owner(InterProcessMutex mutex) {
            this.mutex = mutex;
        }
    }

    private static final int TRIES = 10;
    private static final int TRY_MS = 10000;

    private final String name;
    private final CuratorFramework client;
    private final ScheduledExecutorService thread = Executors.newSingleThreadScheduledExecutor();
    private final Map<String, String> mine = new ConcurrentHashMap<>();
    private final Map<String, Owner> owners = new ConcurrentHashMap<>();
    private final List<TreeCache> caches = new ArrayList<>();
    private ScheduledFuture<?> beating;

    Session(String name, String connect, String namespace, int timeout) throws Exception {
        this.name = name;
        // DolphinScheduler's retries, 1 s, 5 times, 3 s at most, in the scale
        // of a test.
        client = CuratorFrameworkFactory.builder()
                     .connectString(connect)
                     .namespace(namespace)
                     .sessionTimeoutMs(timeout)
                     .connectionTimeoutMs(timeout)
                     .retryPolicy(new ExponentialBackoffRetry(100, 5, 300))
                     .build();
        client.getConnectionStateListenable().addListener(
            (c, state) -> Peer.say("event", name, "state", state.toString()));
        client.start();
        if (!client.blockUntilConnected(TRY_MS, TimeUnit.MILLISECONDS)) {
            client.close();
            throw new IllegalStateException("no connection to " + connect);
        }
    }

    /** Everything but locks is done here, one after the other. */
    ExecutorService thread() {
        return thread;
    }

    String id() throws Exception {
        return Long.toHexString(client.getZookeeperClient().getZooKeeper().getSessionId());
    }

    private void write(String path, String value, CreateMode mode) throws Exception {
        client.create().orSetData().creatingParentsIfNeeded().withMode(mode).forPath(
            path, value.getBytes(StandardCharsets.UTF_8));
    }

    void put(String path, String value) throws Exception {
        mine.put(path, value);
        write(path, value, CreateMode.EPHEMERAL);
    }

    /** A starting process removes what stands in its place first. */
    void register(String path, String value) throws Exception {
        if (client.checkExists().forPath(path) != null)
            client.delete().forPath(path);
        put(path, value);
    }

    void keep(String path, String value) throws Exception {
        write(path, value, CreateMode.PERSISTENT);
    }

    void delete(String path) throws Exception {
        mine.remove(path);
        client.delete().forPath(path);
    }

    void beat(long every) {
        if (beating != null)
            beating.cancel(false);
        beating = every == 0 ? null
                             : thread.scheduleWithFixedDelay(this::report, every, every,
                                                             TimeUnit.MILLISECONDS);
    }

    private void report() {
        for (Map.Entry<String, String> e : mine.entrySet()) {
            try {
                write(e.getKey(), e.getValue(), CreateMode.EPHEMERAL);
            } catch (Exception failed) {
                // as there: said, and tried again at the next heartbeat
                Peer.say("event", name, "beat", Peer.text(failed));
            }
        }
    }

    ExecutorService owner(String path, String owner) {
        return owners.computeIfAbsent(
            path + " " + owner, k -> new Owner(new InterProcessMutex(client, path))).thread;
    }

    boolean acquire(String path, String owner, long timeout) throws Exception {
        return owners.get(path + " " + owner).mutex.acquire(timeout, TimeUnit.MILLISECONDS);
    }

    void release(String path, String owner) throws Exception {
        owners.get(path + " " + owner).mutex.release();
    }

    void cache(String path) throws Exception {
        TreeCache cache = new TreeCache(client, path);
        cache.getListenable().addListener(
            (c, event)
                -> Peer.say("event", name, event.getType().toString(),
                            event.getData() == null ? "" : event.getData().getPath()));
        caches.add(cache);
        cache.start();
    }

    /** Everything at and below an absolute path, whatever the namespace. Reading
     * is repeated when the connection breaks in the middle of it. */
    String[] tree(String path) throws Exception {
        for (int tries = 1;; tries++) {
            List<String> rows = new ArrayList<>();
            try {
                visit(client.getZookeeperClient().getZooKeeper(), path, rows);
                return rows.toArray(new String[0]);
            } catch (KeeperException.ConnectionLossException
                     | KeeperException.SessionExpiredException broken) {
                if (tries == TRIES || !client.blockUntilConnected(TRY_MS, TimeUnit.MILLISECONDS))
                    throw broken;
            }
        }
    }

    private static void visit(ZooKeeper zk, String path, List<String> rows) throws Exception {
        Stat stat = new Stat();
        byte[] data;
        List<String> children;
        try {
            data = zk.getData(path, false, stat);
            children = zk.getChildren(path, false);
        } catch (KeeperException.NoNodeException e) {
            return; // it went while we looked
        }
        rows.add(String.join(" ", Long.toString(stat.getCzxid()), Long.toString(stat.getMzxid()),
                             Long.toString(stat.getPzxid()), Integer.toString(stat.getVersion()),
                             Integer.toString(stat.getCversion()),
                             Long.toHexString(stat.getEphemeralOwner()),
                             "=" + Base64.getEncoder().encodeToString(data == null ? new byte[0] : data),
                             path));
        for (String child : children)
            visit(zk, path.equals("/") ? "/" + child : path + "/" + child, rows);
    }

    void close() {
        beat(0);
        caches.forEach(TreeCache::close);
        client.close();
        owners.values().forEach(o -> o.thread.shutdownNow());
        thread.shutdown();
    }
}
